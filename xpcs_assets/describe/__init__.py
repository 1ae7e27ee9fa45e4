"""Step 4: what a run is and how good it is.

``record`` puts together the run's typed record, ``groups`` says what scientists look for first in it,
``quality`` judges raw data and results against limits. None of them imports dagster.
"""
