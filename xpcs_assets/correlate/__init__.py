"""Step 3: raw frames or events -> g2, in a process of its own. Runs without Dagster and the platform's state.

``delays`` plans, ``partition`` sorts the pixels, ``select`` chooses frames, ``multitau`` correlates (``kernels`` on the
CPU, ``multitau_jax`` on a GPU), ``normalise`` makes g2 and its errors, ``saxs`` the means, ``write_result`` and
``result`` the file, ``fit`` the laws, ``worker`` the command.
"""
