"""Who may read a run's copies: set at every place that can tell people apart, looked at again, and made right."""
