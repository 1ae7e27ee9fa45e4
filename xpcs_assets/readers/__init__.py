"""Raw detector formats, read as frames or photon events, and the files that come with them.

One module a format; ``recognise.open_raw`` takes the format from the content, never from the name alone.
Readers stream: no reader holds a run in memory. They import neither dagster nor the platform's state, so that
they install alone on an HPC node.
"""
