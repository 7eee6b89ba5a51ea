"""The command that tells where an output stands."""
