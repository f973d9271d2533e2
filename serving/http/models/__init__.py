"""serving/http/models."""
