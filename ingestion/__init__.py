"""Inbound: everything that lands data. Knows nothing of Dagster or dbt."""
