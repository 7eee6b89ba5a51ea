"""The index job: sample, train, fill in parallel, merge, measure."""
