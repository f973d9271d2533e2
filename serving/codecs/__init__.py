"""serving/codecs."""
