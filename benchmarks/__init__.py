"""Benchmarks, and the results that the docs quote."""
