"""What ties Dagster to the platform beyond assets: its non-public calls, run launcher, queue and processes."""
