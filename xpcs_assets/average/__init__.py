"""Run sets: several runs of a beamline taken as one, and their average. How runs are merged is in ``correlate``."""
