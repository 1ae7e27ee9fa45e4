"""Step 4: what a run is and how good it is.

``record`` is the run's typed record, ``building`` puts it together, ``groups`` says what scientists look for first in
it, ``type_drift`` what changed in form since the run before, ``datacite`` how it is cited,
``quality`` judges raw data and results against limits. None of them imports dagster.
"""
