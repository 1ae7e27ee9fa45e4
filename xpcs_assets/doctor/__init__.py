"""Whether a site is in order: probes of all that it needs, side by side, and flights of small files between places."""
