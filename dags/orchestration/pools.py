"""Pool names; `docker/airflow/pools.json` creates them. A task in a pool that does not exist waits for ever."""

DEFAULT = "default_pool"
DOWNLOADS = "downloads"
INFERENCE = "inference"
PUBLISH = "publish"
