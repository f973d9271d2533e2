"""What the benchmarks share: options, reports, measured processes, data and trained detectors."""
