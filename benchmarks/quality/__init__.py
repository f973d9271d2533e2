"""Benchmarks of detection quality; `NOTES.md` lists what was tried."""
