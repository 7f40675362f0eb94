"""Contracts of data at rest: schemas, places, atomic parts, manifests, batches and exports. No business rules."""
