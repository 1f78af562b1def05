"""Benchmarks: data only."""
