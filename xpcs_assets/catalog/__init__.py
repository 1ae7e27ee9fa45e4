"""Step 6: one raw record a version of a run, one derived record an analysis and recipe.

``documents`` shapes records as SciCat does, ``embedded`` keeps them in the site's own database (``tables``).
"""
