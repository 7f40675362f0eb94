"""Enrichment of cultural-heritage images: harvest → images → labels → suggestions → publish.

This package never imports Airflow; `dags/` wires its step functions together.
"""
