"""serving/http/core."""
