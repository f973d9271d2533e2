"""Minimal loops around the same graph: the lower bounds that the benchmarks compare with."""
