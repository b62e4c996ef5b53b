"""What goes out: conversion events to Meta, the source onto the CRM's record.

Nothing is sent unless the whole last build passed its blocking checks. A destination that cannot
be reached stops neither the others nor the publication: its check says what to do, and
`publish/refresh_verdict` makes the run red at its end.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import dagster as dg

from ctwa.settings import Settings
from orchestration.assets.dbt import MARTS_SCHEMA, mart_names
from orchestration.assets.raw import (
    OWNERS,
    PROBLEM,
    STALE_SINCE,
    STATUS,
    describe,
    last_done,
    where,
)
from orchestration.rebuild import unchecked_build
from orchestration.resources import RefreshLock

CHECK_NAME = "sent"
"""The check of each destination: whether everything due could be told to it."""

EVENTS_KEY = dg.AssetKey(["meta_conversions", "events"])
CONTACTS_KEY = dg.AssetKey(["hubspot_contacts", "attribution"])
LEADS_KEY = dg.AssetKey(["crm_webhook", "leads"])
ACTIVATION_KEYS = (EVENTS_KEY, CONTACTS_KEY, LEADS_KEY)


class UncheckedBuildError(RuntimeError):
    """The models were not built and checked to the end: nothing is sent from them."""


@dataclass(frozen=True)
class Alarm:
    """A check that warns while `count` of the counts is not zero."""

    name: str
    count: str
    text: str
    """What it means and what to do, after the number."""


@dataclass(frozen=True)
class Destination:
    """Somewhere outside that is told something, and how that is shown."""

    key: dg.AssetKey
    kinds: frozenset[str]
    description: str
    mode: str
    outboxes: Sequence[str]
    """Models of schema `activation` that it is told from."""
    send: Callable[[], Any]
    """Returns counts: a dataclass of numbers, and of mappings that are shown as tables."""
    off_because: str | None = None
    alarms: Sequence[Alarm] = field(default=())

    def spec(self, deps: Sequence[dg.AssetKey]) -> dg.AssetSpec:
        """Its asset, after everything that is checked before it is told."""
        state = f"**Off**: {self.off_because}" if self.off_because else f"Mode `{self.mode}`."
        return dg.AssetSpec(
            key=self.key,
            deps=deps,
            group_name="activation",
            owners=OWNERS,
            kinds={"python", *self.kinds},
            description=f"{state}\n\n{self.description}",
        )

    def check_specs(self) -> list[dg.AssetCheckSpec]:
        """`sent`, and one for each alarm; none of them holds up the publication."""
        sent = "Everything due was told. If not: what happened and what to do."
        described = [(CHECK_NAME, sent), *((a.name, f"Warns: {a.text}.") for a in self.alarms)]
        return [
            dg.AssetCheckSpec(name=name, asset=self.key, description=text, blocking=False)
            for name, text in described
        ]


def build_activation_assets(settings: Settings, manifest: Path) -> list[dg.AssetsDefinition]:
    """One asset for each destination, after every mart and its blocking checks."""
    marts = [dg.AssetKey([MARTS_SCHEMA, mart]) for mart in mart_names(manifest)]
    return [
        _asset(settings, destination, marts)
        for destination in (_conversions(settings), _hubspot(settings), _webhook(settings))
    ]


def _conversions(settings: Settings) -> Destination:
    mode = settings.meta_conversions_mode

    def send() -> Any:
        from activation.conversions import send_conversions

        return send_conversions(settings)

    return Destination(
        key=EVENTS_KEY,
        kinds=frozenset({"meta"}),
        description=(
            "Qualified and won leads as conversion events, so that Meta's delivery looks for "
            "buyers. Each is sent once: Meta does not deduplicate. See docs/conversions.md."
        ),
        mode=mode,
        outboxes=["conversion_outbox"],
        # Off runs, too: it ends the activation, so that what happens meanwhile is never sent.
        send=send,
        off_because="META_CONVERSIONS_MODE is off." if mode == "off" else None,
        alarms=[
            Alarm(
                "fates_are_known",
                "unknown",
                "requests ended without an answer, so Meta may have these events or not; they are "
                "not sent again (META_CONVERSIONS_ON_UNKNOWN=resend does, and may count twice)",
            ),
            Alarm(
                "none_rejected",
                "rejected",
                "events that Meta refused; `reason` in conversion_events says why, "
                "docs/conversions.md what to do",
            ),
        ],
    )


def _hubspot(settings: Settings) -> Destination:
    off = None
    if not settings.hubspot_is_on:
        off = "set HUBSPOT_TOKEN to connect HubSpot (see docs/connect/hubspot.md)."
    elif settings.hubspot_write_back == "off":
        off = "HUBSPOT_WRITE_BACK is off."

    def send() -> Any:
        from activation.hubspot import write_back

        return write_back(settings)

    return Destination(
        key=CONTACTS_KEY,
        kinds=frozenset({"hubspot"}),
        description=(
            "Source, channel, campaign, ad and first touch of each lead onto its contact; only "
            "what changed is written. See docs/write-back.md."
        ),
        mode=settings.hubspot_write_back,
        outboxes=["crm_outbox", "crm_records"],
        send=send,
        off_because=off,
        alarms=[
            Alarm(
                "none_refused",
                "refused",
                "contacts that HubSpot did not take, by category in `refusals`; they are tried "
                "again each run",
            ),
        ],
    )


def _webhook(settings: Settings) -> Destination:
    def send() -> Any:
        from activation.webhook import post_leads

        return post_leads(settings)

    return Destination(
        key=LEADS_KEY,
        kinds=frozenset({"webhook"}),
        description=(
            "A signed POST to your CRM for each new lead, and when its source changes. "
            "See docs/write-back.md."
        ),
        mode="live",
        outboxes=["crm_outbox"],
        send=send,
        off_because=None if settings.crm_webhook_url else "CTWA_CRM_WEBHOOK_URL is not set.",
        alarms=[
            Alarm(
                "none_given_up",
                "given_up",
                "leads that the CRM's address did not take for two days; mend it, they are not "
                "tried again",
            ),
            Alarm(
                "none_refused",
                "refused",
                "leads that the CRM's address refused; its log says why",
            ),
        ],
    )


def _asset(
    settings: Settings, destination: Destination, marts: Sequence[dg.AssetKey]
) -> dg.AssetsDefinition:
    outboxes = [dg.AssetKey(["activation", name]) for name in destination.outboxes]

    @dg.multi_asset(
        name="__".join(destination.key.path),
        specs=[destination.spec([*outboxes, *marts])],
        check_specs=destination.check_specs(),
        pool="duckdb",
    )
    def send(
        context: dg.AssetExecutionContext, lock: RefreshLock
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from _sent(context, settings, destination)

    return send


def _sent(
    context: dg.AssetExecutionContext, settings: Settings, destination: Destination
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    counts, problem = None, ""
    try:
        if not destination.off_because and (since := unchecked_build(settings)):
            raise UncheckedBuildError(
                f"nothing was sent: the build of {since} did not pass all blocking checks; mend "
                "what they name, then run the refresh again"
            )
        counts = destination.send()
    except Exception as error:  # noqa: BLE001 - told by the check; the others go on
        counts = getattr(error, "counts", None)
        known = isinstance(error, UncheckedBuildError)
        problem = str(error) if known else describe(error)
        context.log.error("%s: %s\n%s", destination.key.path[0], problem, where(error))
    status = "failed" if problem else "off" if destination.off_because else "sent"
    metadata: dict[str, Any] = {STATUS: status, "mode": destination.mode, **figures(counts)}
    if problem:
        since = last_done(context.instance, destination.key, "sent")
        metadata |= {PROBLEM: problem, STALE_SINCE: since}
    yield dg.MaterializeResult(asset_key=destination.key, metadata=metadata)
    yield _result(destination, CHECK_NAME, problem, problem or "everything due was told", True)
    for alarm in destination.alarms:
        number = int(getattr(counts, alarm.count, 0) or 0)
        text = f"{number:,} {alarm.text}" if number else "none"
        yield _result(destination, alarm.name, number, text, False)


def _result(
    destination: Destination, name: str, bad: object, text: str, is_error: bool
) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        asset_key=destination.key,
        check_name=name,
        passed=not bad,
        severity=severity,
        description=text,
    )


def figures(counts: Any) -> dict[str, Any]:
    """Metadata of counts: numbers to be plotted, mappings as tables."""
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
