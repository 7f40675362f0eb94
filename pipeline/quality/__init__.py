"""The gates between stages: Great Expectations suites, run after writing and before publishing."""
