"""Step 2: copy once, hash, verify."""
