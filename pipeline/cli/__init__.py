"""The command `enrich`: everything that a DAG runs can be run by hand, and the sandbox, training and the local run."""

from pipeline.cli.main import main

__all__ = ["main"]
