"""What each plot of a result shows, in words: for pages and catalogs."""

from __future__ import annotations

CAPTIONS = {
    "scattering": "scattering pattern and q-map",
    "g2": "g2 with fits",
    "tau_q": "tau(q)",
    "saxs_1d": "I(q) with partial means",
    "intensity_vs_time": "I(t)",
    "twotime": "two-time correlation",
    "twotime_cuts": "cuts at constant age, g2 from the diagonals",
}
"""By the plot's name, which is that of its file without ``.png``; what is looked at first comes first."""
