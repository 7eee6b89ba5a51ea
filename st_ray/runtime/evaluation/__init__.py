"""Jobs that measure the results of other jobs."""
