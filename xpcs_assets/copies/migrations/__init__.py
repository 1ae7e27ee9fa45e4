"""The history of the database's tables, one file in ``versions`` a step. Files that were released never change."""
