"""The page beside each job's output: what was done, how it went, and how to do it again."""
