"""serving/http/api."""
