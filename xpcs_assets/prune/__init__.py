"""Step 8: rules (pure), proof (asks and reads the other copies), remove (the only unlink of retained data)."""
