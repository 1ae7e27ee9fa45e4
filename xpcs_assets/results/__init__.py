"""Results: written by ``write_result``, opened by ``result``, fitted by ``fit`` and averaged by ``average``.

The file's layout is the one of APS 8-ID's engine; what that has no place for lies beside it.
"""
