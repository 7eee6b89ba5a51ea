"""The job that detects communities: neighbours are counted block by block, then one greedy pass asks for them."""
