"""Contracts of data at rest: schemas, places, atomic parts, manifests, batches and exports. No business rules."""

import os

# Read when pyarrow is imported: Arrow's own pool, even unused, holds 13 MB of every task.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
