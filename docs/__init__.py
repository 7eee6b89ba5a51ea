"""The pages, and what keeps them true: tables that are generated, and commands that are run."""
