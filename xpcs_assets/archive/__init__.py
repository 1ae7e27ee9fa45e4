"""Step 7: bundle, put on tape, read back."""
