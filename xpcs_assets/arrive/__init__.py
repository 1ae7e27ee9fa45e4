"""Step 1: is a run complete? Folder watch and submission by hand; nothing here reads more than names and headers."""
