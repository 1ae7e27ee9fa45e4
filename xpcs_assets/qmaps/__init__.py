"""Q-maps: which pixels count and in which bins they lie; made from geometry, read and written in both layouts.

``geometry`` gives q and phi of a pixel, ``partition_maps`` and ``rings`` make bins, ``qpartition`` is the map they
make, ``qmap`` its file. Like the readers it runs without Dagster and the platform's state.
"""
