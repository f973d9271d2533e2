"""serving/monitoring."""
