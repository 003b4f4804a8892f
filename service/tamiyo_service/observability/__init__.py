"""What operators see of a running service: counts, and how long things take."""
