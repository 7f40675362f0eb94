"""`record_labels` → annotations on the platforms, exactly once, through the ledger."""
