"""Any command as the analysis of a run: it works apart, and only what it was to leave gets its final name."""
