"""MetricFlow in this process: metrics in, rows of a test's warehouse out."""

from __future__ import annotations

import logging
from typing import Any

from dbt.contracts.graph.semantic_manifest import SemanticManifest
from metricflow.engine.metricflow_engine import MetricFlowEngine, MetricFlowQueryRequest
from metricflow.protocols.sql_client import SqlEngine
from metricflow.sql.render.duckdb_renderer import DuckDbSqlPlanRenderer
from metricflow_semantics.model.dbt_manifest_parser import (
    parse_manifest_from_dbt_generated_manifest,
)
from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

from tests.support.warehouse import DbtWorld, parsed_manifest


class _Dialect:
    """All that MetricFlow needs to know of a database to write its SQL."""

    sql_engine_type = SqlEngine.DUCKDB
    sql_plan_renderer = DuckDbSqlPlanRenderer()


class Metrics:
    """What `mf query` answers, without its command line."""

    def __init__(self, world: DbtWorld) -> None:
        logging.getLogger("metricflow").setLevel(logging.WARNING)
        text = SemanticManifest(parsed_manifest())._get_pydantic_semantic_manifest().json()
        semantics = parse_manifest_from_dbt_generated_manifest(manifest_json_string=text)
        self._world = world
        self._engine = MetricFlowEngine(
            semantic_manifest_lookup=SemanticManifestLookup(semantics),
            sql_client=_Dialect(),  # type: ignore[arg-type]
        )
        self.names = sorted(metric.name for metric in semantics.metrics)

    def query(self, *metrics: str, by: list[str], where: str | None = None) -> list[dict[str, Any]]:
        """Rows of the metrics, grouped as said, e.g. `by=["metric_time__day"]`."""
        request = MetricFlowQueryRequest.create(
            metric_names=list(metrics),
            group_by_names=by,
            where_constraints=[where] if where else None,
        )
        return self._world.query(self._engine.explain(request).sql_statement.sql)
