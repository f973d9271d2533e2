"""serving/http/process."""
