"""`images` → `labels`, `record_labels` and `features`: batched prediction, and a decision with its reason for each label."""
