"""What a run tells people: progress while it runs, the report and its figures when it is done."""
