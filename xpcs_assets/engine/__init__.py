"""The correlation engine: counts in memory -> g2 and two-time maps with their errors. It knows nothing of files.

``delays`` plans, ``partition`` sorts the pixels, ``select`` chooses frames, ``validity`` says which count, ``multitau``
correlates (``kernels`` on the CPU, ``multitau_jax`` and ``events_jax`` on a GPU), ``normalise`` makes g2 and its
errors, ``twotime`` the maps of two times, ``saxs`` the means.
"""
