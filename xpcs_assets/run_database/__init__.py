"""A run database as the source of runs: which there are is asked of it, what became of them is told to it."""
