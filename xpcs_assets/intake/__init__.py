"""Intake over HTTP: a dispatcher or a scan engine says that runs are complete; what is refused is kept to be mended."""
