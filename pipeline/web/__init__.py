"""The portal: pages and a JSON API over finished runs. Reads the lake only; it changes nothing."""

from pipeline.web.app import create_app

__all__ = ["create_app"]
