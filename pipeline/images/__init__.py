"""`records` → `images`: fetch, validate, normalise and store the pictures, one outcome row an attempt."""
