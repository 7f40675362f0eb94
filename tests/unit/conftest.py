"""Properties are tried on the same examples in every run, and a slow first import is no failure."""

from hypothesis import settings

settings.register_profile("house", deadline=None, derandomize=True, database=None)
settings.load_profile("house")
