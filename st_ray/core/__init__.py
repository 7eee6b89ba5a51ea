"""What every layer shares: errors, ids, protocols. Imports nothing of the project."""
