"""Mounts the portal in Airflow's UI at `/enrichment`, behind Airflow's login.

Airflow loads this file in each of its processes, although only the API server serves the app: so nothing heavy is
imported here, and the app is built when the first request comes.
"""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

URL_PREFIX = "/enrichment"


class GuardedPortal:
    """The portal as an ASGI app; who may see Airflow's plugins may see it, nobody else."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        with self._lock:
            app = self.app
        await app(scope, receive, send)

    @cached_property
    def app(self) -> FastAPI:
        """Built once. Airflow does not guard mounted apps by itself, so the guard is part of every route.

        Its users are the people who run the pipeline: they see hidden labels too.
        """
        from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
        from airflow.api_fastapi.core_api.security import requires_access_view  # no public interface has it yet
        from fastapi import Depends

        from pipeline.settings import Settings
        from pipeline.web import create_app

        return create_app(Settings(), [Depends(requires_access_view(AccessView.PLUGINS))], internal=True)


class EnrichmentPlugin(AirflowPlugin):
    """The portal and its entry in the navigation."""

    name = "enrichment"
    fastapi_apps = [{"app": GuardedPortal(), "url_prefix": URL_PREFIX, "name": "enrichment"}]
    external_views = [
        {
            "name": "Enrichment",
            "href": urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/") + f"{URL_PREFIX}/",
            "destination": "nav",
            "url_route": "enrichment",
        }
    ]
