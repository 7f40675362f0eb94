"""What `tests.benchmarks.labels` is made of."""
