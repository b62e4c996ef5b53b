"""What is sent, as assets: conversion events to Meta, and each lead's source to the CRM.

A destination that cannot be reached stops neither the others nor the publication: its check says
what to do, and `publish/refresh_verdict` fails the run at its end.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import dagster as dg

from ctwa.settings import Settings
from orchestration.dbt_manifest import MARTS_SCHEMA
from orchestration.destinations import Destination, destinations
from orchestration.keys import OWNERS, PROBLEM, SENT, STALE_SINCE, STATUS
from orchestration.resources import RefreshLock
from orchestration.sources import last_done


def build_activation_assets(settings: Settings, marts: Sequence[str]) -> list[dg.AssetsDefinition]:
    """One asset for each destination, downstream of every mart and its blocking checks."""
    keys = [dg.AssetKey([MARTS_SCHEMA, mart]) for mart in marts]
    return [_asset(settings, destination, keys) for destination in destinations(settings)]


def _asset(
    settings: Settings, destination: Destination, marts: Sequence[dg.AssetKey]
) -> dg.AssetsDefinition:
    outboxes = [dg.AssetKey(["activation", name]) for name in destination.outboxes]

    @dg.multi_asset(
        name="__".join(destination.path),
        specs=[_spec(destination, [*outboxes, *marts])],
        check_specs=_check_specs(destination),
        pool="duckdb",
    )
    def send(
        context: dg.AssetExecutionContext, lock: RefreshLock
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from _sent(context, settings, destination)

    return send


def _spec(destination: Destination, deps: Sequence[dg.AssetKey]) -> dg.AssetSpec:
    """Its asset, downstream of everything that must be checked before anything is sent."""
    off = destination.off_because
    state = f"**Off**: {off}" if off else f"Mode `{destination.mode}`."
    return dg.AssetSpec(
        key=_key(destination),
        deps=deps,
        group_name="activation",
        owners=OWNERS,
        kinds={"python", *destination.kinds},
        description=f"{state}\n\n{destination.description}",
    )


def _check_specs(destination: Destination) -> list[dg.AssetCheckSpec]:
    """`sent`, and one for each alarm; none of them blocks the publication."""
    sent = "Everything due was sent. If it fails, it says what happened and what to do."
    described = [(a.name, f"Warns about {a.text}.") for a in destination.alarms]
    return [
        dg.AssetCheckSpec(name=name, asset=_key(destination), description=text, blocking=False)
        for name, text in [(SENT, sent), *described]
    ]


def _sent(
    context: dg.AssetExecutionContext, settings: Settings, destination: Destination
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    attempt = destination.attempt(settings)
    key, problem = _key(destination), attempt.problem
    if problem:
        context.log.error("%s: %s\n%s", key.path[0], problem, attempt.stack)
    metadata: dict[str, Any] = {
        STATUS: attempt.status,
        "mode": destination.mode,
        **figures(attempt.counts),
    }
    if problem:
        metadata |= {PROBLEM: problem, STALE_SINCE: last_done(context.instance, key, "sent")}
    yield dg.MaterializeResult(asset_key=key, metadata=metadata)
    yield _result(key, SENT, problem, problem or "everything due was sent", True)
    for alarm, number, text in attempt.alarms():
        yield _result(key, alarm.name, number, text, False)


def _key(destination: Destination) -> dg.AssetKey:
    return dg.AssetKey(destination.path)


def _result(
    key: dg.AssetKey, name: str, bad: object, text: str, is_error: bool
) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=not bad,
        severity=severity,
        description=text,
    )


def figures(counts: Any) -> dict[str, Any]:
    """Metadata of counts: numbers for plots, mappings as tables."""
    found: dict[str, Any] = {}
    for one in fields(counts) if counts is not None else ():
        value = getattr(counts, one.name)
        if isinstance(value, Mapping):
            if value:
                found[one.name] = dg.MetadataValue.md(_table(one.name, value))
        elif isinstance(value, int | float | str):
            found[one.name] = value
    return found


def _table(title: str, numbers: Mapping[str, int]) -> str:
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    rows = "\n".join(f"| {name} | {number:,} |" for name, number in ordered)
    return f"| {title.replace('_', ' ')} | number |\n|---|---:|\n{rows}"
