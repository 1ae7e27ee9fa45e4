"""The simulator and other stand-ins, shipped for tests and trials; never imported at run time."""
