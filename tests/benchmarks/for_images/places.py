"""Where the benchmark keeps what it makes once and uses again."""

from pipeline.settings import PROJECT_ROOT

BENCH = PROJECT_ROOT / "var" / "bench"
PICTURES = BENCH / "images"
ENVIRONMENTS = BENCH / "envs"  # of the peer and of servers, apart from the project's own
