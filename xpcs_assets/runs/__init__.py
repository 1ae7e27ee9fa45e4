"""What a measurement is: run key, manifest, recipe, folders, owner, retention. Pure values, no I/O but files read."""
