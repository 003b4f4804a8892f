"""HTTP: what the service's work looks like from outside."""
