"""Where heavy work runs. A job is a command line of the worker; its report and an opening result are success."""
