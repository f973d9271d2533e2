"""Observation of verdicts: rolling statistics, drift, shadow comparison and metrics. Nothing here changes an answer."""
