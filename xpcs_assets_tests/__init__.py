"""The tests, mirroring the package. Names are sentences; servers are real wherever one can be started here."""
