"""`python -m pipeline` is the same as `enrich`."""

from pipeline.cli import main

main()
