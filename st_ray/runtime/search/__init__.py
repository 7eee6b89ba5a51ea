"""The search job: parts that stay in actors, queries that stream past them."""
