"""Shared wiring of the DAGs: assets, params, pools, defaults and the stages as task groups."""
