"""Stand-in servers for the platforms the pipeline talks to, for work and tests without network or accounts.

One module a platform (`europeana`, `media`, `annotations`, `with_platform`, `tokens`); all answers are made from a
collection folder, and all writes lie in one SQLite file. What the collection knows as truth never travels.
"""

from pipeline.sandbox.options import SandboxOptions

__all__ = ["SandboxOptions"]
