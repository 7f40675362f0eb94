"""Run in a process of its own: loads the plugins folder as Airflow does, asks every route anonymously, prints facts."""

import json
import sys
import warnings

warnings.simplefilter("ignore")
HEAVY = ("fastapi", "keras", "pandas", "pipeline", "pyarrow", "tensorflow")


def facts() -> dict[str, object]:
    """What the test looks at."""
    from airflow import plugins_manager

    apps, _ = plugins_manager.get_fastapi_plugins()
    loaded = [name for name in HEAVY if name in sys.modules]
    from airflow.api_fastapi.app import create_auth_manager, init_plugins
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi import FastAPI
    from fastapi.routing import APIRoute
    from fastapi.testclient import TestClient

    root = FastAPI()
    init_plugins(root)
    client = TestClient(root)
    portal = apps[0]["app"].app
    paths = [route.path for route in portal.routes if isinstance(route, APIRoute)]
    values = {"dataset": "a", "local": "b", "run_id": "c"}
    anonymous = {path: client.get(f"/enrichment{path.format(**values)}").status_code for path in paths}
    manager = create_auth_manager()
    forged = client.get("/enrichment/v1/runs", headers={"Authorization": "Bearer nonsense"}).status_code

    async def user_with(role: str) -> SimpleAuthManagerUser:
        return SimpleAuthManagerUser(username="somebody", role=None if role == "none" else role)

    manager.get_user_from_token = user_with  # the real one asks Airflow's database whether the token was revoked
    roles = {
        role: client.get("/enrichment/v1/runs", headers={"Authorization": f"Bearer {role}"}).status_code
        for role in ("viewer", "admin", "none")
    }
    return {
        "plugins": [(app["name"], app["url_prefix"]) for app in apps],
        "errors": plugins_manager.get_import_errors(),
        "views": [view for plugin in plugins_manager.get_plugin_info() for view in plugin["external_views"]],
        "loaded_with_the_plugin": loaded,
        "anonymous": anonymous,
        "internal": portal.state.portal.internal,
        "forged": forged,
        "roles": roles,
    }


if __name__ == "__main__":
    print("FACTS " + json.dumps(facts()))
