"""Assets and checks of dbt's manifest: the specs that dagster-dbt makes, without importing it.

dagster-dbt imports dbt itself, which a run that executes the plan does without: a third of what
all imports cost, in every Dagster process. A test holds these specs equal to dagster-dbt's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from orchestration.keys import OWNERS

Manifest = Mapping[str, Any]
"""As `dbt_manifest.load_manifest` gives it."""
Props = Mapping[str, Any]
"""A node or source of the manifest."""

UNIQUE_ID = "dagster_dbt/unique_id"
_ASSETS = ("model", "seed", "snapshot")
_FOLDERS_ARE_GROUPS = ("staging", "intermediate")


def node_of(manifest: Manifest, unique_id: str) -> Props:
    """A node or source; raises `KeyError` where the manifest has none of this id."""
    found: Props = manifest["sources" if unique_id.startswith("source.") else "nodes"][unique_id]
    return found


def asset_key(props: Props) -> dg.AssetKey:
    """`[source, table]` of a source; `[schema, name]` of a model or seed."""
    if props["resource_type"] == "source":
        return dg.AssetKey([props["source_name"], props["name"]])
    schema = props["config"].get("schema")
    return dg.AssetKey([props["name"]] if schema is None else [schema, props["name"]])


def description_of(props: Props) -> str:
    """dbt's description; the SQL is in the repository, not in every asset's text."""
    text: str = props.get("description") or ""
    return text or f"dbt {props['resource_type']} {props['name']}"


def group_of(props: Props) -> str:
    """From `meta.dagster.group` or dbt's group, else the folder: that below `staging` or
    `intermediate`, else the layer."""
    group: str | None = _dagster(props).get("group") or props["config"].get("group")
    layer, *below = props["fqn"][1:-1] or ["seeds"]
    return group or (below[0] if below and layer in _FOLDERS_ARE_GROUPS else layer)


def asset_specs(manifest: Manifest) -> list[dg.AssetSpec]:
    """One spec per model and seed."""
    nodes = manifest["nodes"].items()
    return [_spec(manifest, unique_id, props) for unique_id, props in nodes if _is_asset(props)]


def check_specs(manifest: Manifest) -> list[dg.AssetCheckSpec]:
    """One spec per test of a model or seed that it reads; it blocks if its severity is error."""
    specs = []
    for unique_id, props in manifest["nodes"].items():
        children = manifest["child_map"].get(unique_id, []) if _is_asset(props) else []
        tests = ((i, check_key(manifest, i)) for i in children if i.startswith("test."))
        found = ((i, key) for i, key in tests if key and key.asset_key == asset_key(props))
        specs += [_check_spec(manifest, i, key) for i, key in found]
    return specs


def check_key(manifest: Manifest, test_id: str) -> dg.AssetCheckKey | None:
    """The check that a test is: of the model that `meta.dagster.ref` names, else of the only one
    that it looks at, else of the one whose properties it stands in."""
    test = manifest["nodes"][test_id]
    parents = set(test["depends_on"]["nodes"])
    attached = parents.pop() if len(parents) == 1 else test.get("attached_node")
    meta = test["config"].get("meta") or test.get("meta") or {}
    if ref := meta.get("dagster", {}).get("ref"):
        attached = _named(manifest, ref["name"])
    if not attached:
        return None
    return dg.AssetCheckKey(asset_key(node_of(manifest, attached)), test["name"])


def _spec(manifest: Manifest, unique_id: str, props: Props) -> dg.AssetSpec:
    adapter = manifest["metadata"].get("adapter_type")
    storage = {"dagster/storage_kind": adapter} if adapter else {}
    project = manifest["metadata"].get("project_id")
    own = {"dagster_dbt/project_id": dg.MetadataValue.text(project)} if project else {}
    above = {i: node_of(manifest, i) for i in sorted(set(_upstream(manifest, props)))}
    return dg.AssetSpec(
        asset_key(props),
        deps=[
            dg.AssetDep(
                asset_key(parent),
                metadata=_table(parent) | storage if i.startswith("source.") else None,
            )
            for i, parent in above.items()
        ],
        description=description_of(props),
        metadata={**_table(props), UNIQUE_ID: unique_id, **storage, **own},
        skippable=True,
        group_name=group_of(props),
        code_version=_code_version(props),
        owners=_dagster(props).get("owners") or OWNERS,
        tags=dict.fromkeys(props.get("tags", []), ""),
        kinds={"dbt", adapter or "dbt"},
    )


def _check_spec(manifest: Manifest, test_id: str, key: dg.AssetCheckKey) -> dg.AssetCheckSpec:
    test = manifest["nodes"][test_id]
    others = {asset_key(node_of(manifest, i)) for i in manifest["parent_map"].get(test_id, [])}
    return dg.AssetCheckSpec(
        key.name,
        asset=key.asset_key,
        description=test.get("meta", {}).get("description"),
        additional_deps=sorted(others - {key.asset_key}),
        metadata={UNIQUE_ID: test_id},
        blocking=(test["config"].get("severity") or "error").lower() == "error",
    )


def _dagster(props: Props) -> Mapping[str, Any]:
    found: Mapping[str, Any] = props.get("meta", {}).get("dagster", {})
    return found


def _is_ephemeral(props: Props) -> bool:
    return props.get("config", {}).get("materialized") == "ephemeral"


def _is_asset(props: Props) -> bool:
    return props["resource_type"] in _ASSETS and not _is_ephemeral(props)


def _upstream(manifest: Manifest, props: Props) -> Iterator[str]:
    """Assets and sources that a node reads; through a model that is ephemeral, what that reads."""
    for parent_id in props["depends_on"].get("nodes", []):
        parent = node_of(manifest, parent_id)
        if _is_ephemeral(parent):
            yield from _upstream(manifest, parent)
        else:
            yield parent_id


def _named(manifest: Manifest, name: str) -> str | None:
    project = manifest["metadata"].get("project_name")
    return next(
        (
            unique_id
            for unique_id, props in manifest["nodes"].items()
            if (props["name"], props["package_name"]) == (name, project)
        ),
        None,
    )


def _table(props: Props) -> dict[str, Any]:
    """What the UI shows of a table: its columns, its name, how dbt makes it."""
    found: dict[str, Any] = {}
    if materialized := props.get("config", {}).get("materialized"):
        found["dagster-dbt/materialization_type"] = materialized
    if columns := props.get("columns"):
        found["dagster/column_schema"] = dg.TableSchema(
            columns=[
                dg.TableColumn(
                    name=name,
                    type=column.get("data_type") or "?",
                    description=column.get("description"),
                    tags=dict.fromkeys(column.get("tags", []), ""),
                )
                for name, column in columns.items()
            ]
        )
    parts = [props.get("database"), props.get("schema"), props.get("alias")]
    parts += [props["name"]] if props["resource_type"] == "source" else []
    found["dagster/table_name"] = ".".join(part for part in parts if part)
    return found


def _code_version(props: Props) -> str | None:
    """Changes when the SQL does; of a seed, when the file does."""
    if code := props.get("raw_code"):
        return hashlib.sha1(code.encode(), usedforsecurity=False).hexdigest()
    checksum: str | None = props.get("checksum", {}).get("checksum")
    return checksum
