"""The datasets as Airflow assets: a bell that rings when a run has published one, never a work list."""

from airflow.sdk import Asset

RECORDS = Asset("records")
IMAGES = Asset("images")
LABELS = Asset("labels")
SUGGESTIONS = Asset("suggestions")
ANNOTATIONS = Asset("annotations")
LINKS = Asset("link_checks")
