"""How figures of past days changed after they were published: the ledger of restatements.

The marts about to be published are compared with the last publication of an earlier day (`as_of`).
Differences on days that were over by then are written to `<lake>/restatements`, one file per
earlier publication. All publications of one day replace the same file, so repeating a run never
counts a change twice. The first run of a day settles the page of the day before, as that day may
have ended with a run that was recorded and not published, or published and not recorded. So the
chain has no gap: what a publication said, plus its rows, is what the last one of the next day said.

    <lake>/restatements/<version of the publication before>.<writing>.parquet

Each writing is a new file, after which the older one is deleted; readers use the highest number.
Files of the lake never change: backups rely on that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from comparison.credit import causes_of_nights, changes
from comparison.sides import NotComparableError
from comparison.tables import RESTATEMENTS
from ctwa.settings import Settings
from ingestion.lake.lake import Lake, conform
from publishing.marts import published_before
from publishing.publication import Publication

DATASET = "restatements"
_COUNTED = ("spend_delta", "leads_delta", "qualified_leads_delta")
_NAME = re.compile(r"(\w+)\.(\d+)\.parquet")


@dataclass(frozen=True)
class Restated:
    """What `record` found."""

    since: Publication | None
    """The publication compared with; None if there is none of an earlier day."""
    rows: pa.Table
    note: str = ""
    """Why nothing was compared."""


def record(settings: Settings, since: Publication | None, *, as_of: date) -> Restated:
    """Compare the warehouse with a publication of an earlier day; write the rows to the ledger.

    The caller holds the refresh lock. Raises what `changes` raises, and errors of the lake.
    """
    if since is None:
        empty = RESTATEMENTS.empty_table()
        return Restated(None, empty, "there is no publication of an earlier day")
    lake = Lake.from_settings(settings)
    # Only until `since` is no longer the newest: from then on its predecessor is gone.
    if before := published_before(settings, since.as_of):
        _write(lake, before, since.path, since.as_of, since.rules, since.rule_version)
    rule_version = _rule_version(settings.warehouse_path)
    return _write(lake, since, settings.warehouse_path, as_of, settings.rules_text, rule_version)


def _write(
    lake: Lake, since: Publication, after: Path, as_of: date, rules: str, rule_version: str
) -> Restated:
    """Make the page of `since` say how the marts of `after`, as of that day, differ from it."""
    differing = _rules_between(since.rules, rules)
    if since.rule_version and since.rule_version != rule_version:
        differing.add("rule_version")
    try:
        found = changes(
            since.path, after, causes=causes_of_nights(differing), days_before=since.as_of
        )
    except NotComparableError as error:
        return Restated(None, RESTATEMENTS.empty_table(), str(error))
    if "reporting_currency" in differing:
        found = _without_converted(found)
    count = len(found)
    head = {
        "restated_on": pa.array([as_of] * count, pa.date32()),
        "as_of": pa.array([since.as_of] * count, pa.date32()),
        "version": pa.array([since.version] * count, pa.string()),
    }
    columns = [head[n] if n in head else found[n] for n in RESTATEMENTS.names]
    rows = pa.Table.from_arrays(columns, schema=RESTATEMENTS)
    write(lake, since.version, rows)
    _remove_superseded(lake, since)
    return Restated(since, rows)


def _without_converted(found: pa.Table) -> pa.Table:
    """The changes without converted spend, if before and after differ in currency (rule R13)."""
    name = "spend_reporting_delta"
    index = found.column_names.index(name)
    field = found.schema.field(index)
    found = found.set_column(index, field, pa.nulls(len(found), field.type))
    zero = [pc.equal(found[c], pa.scalar(0, found[c].type)) for c in _COUNTED]
    nothing = pc.and_(pc.and_(zero[0], zero[1]), zero[2])
    return found.filter(pc.invert(nothing))


def write(lake: Lake, version: str, rows: pa.Table) -> None:
    """Make `rows` the ledger's page of one publication; nothing is written if it is so already."""
    before = [n for n in lake.pages(DATASET) if _version(n) == version]
    if not before and not len(rows):
        return
    newest = max(before, default="")
    if newest and _holds(lake, newest, rows):
        lake.remove_pages(DATASET, [n for n in before if n != newest])
        return
    number = _number(newest) + 1
    lake.write_page(DATASET, f"{version}.{number:06d}.parquet", rows)
    lake.remove_pages(DATASET, before)


def _remove_superseded(lake: Lake, since: Publication) -> None:
    """Remove pages that compare with another publication of the same day.

    A run that dies before it publishes leaves its page. If the previous marts are then published
    again (`ctwa diff-rules`), they get another version, and the change would count twice.
    """
    for name in sorted(lake.pages(DATASET), reverse=True):
        if _NAME.fullmatch(name) is None or _version(name) == since.version:
            continue
        try:
            days = lake.read_page(DATASET, name)["as_of"].unique().to_pylist()
        except (OSError, pa.ArrowException, KeyError):
            continue
        if days and max(days) < since.as_of:
            return  # versions are times: older ones are of earlier days
        if days == [since.as_of]:
            lake.remove_pages(DATASET, [name])


def _holds(lake: Lake, name: str, rows: pa.Table) -> bool:
    try:
        return bool(conform(lake.read_page(DATASET, name), rows.schema).equals(rows))
    except (OSError, pa.ArrowException):
        return False


def read(lake: Lake) -> tuple[pa.Table, list[str]]:
    """The whole ledger by day, campaign and cause, and the names of damaged pages."""
    newest: dict[str, str] = {}
    for name in lake.pages(DATASET):
        if _NAME.fullmatch(name):
            newest[_version(name)] = max(newest.get(_version(name), ""), name)
    rows, damaged = [RESTATEMENTS.empty_table()], []
    for name in newest.values():
        try:
            rows.append(conform(lake.read_page(DATASET, name), RESTATEMENTS))
        except (OSError, pa.ArrowException):
            damaged.append(name)
    order = ("restated_on", "version", "report_date", "platform", "campaign_id", "channel", "cause")
    table = pa.concat_tables(rows).sort_by([(column, "ascending") for column in order])
    return table, damaged


def _rule_version(warehouse: Path) -> str:
    """The version of the rules under which the touches of a warehouse were made."""
    try:
        with duckdb.connect(str(warehouse), read_only=True) as connection:
            row = connection.execute("select max(rule_version) from marts.fct_touches").fetchone()
    except duckdb.Error:
        return ""
    return str(row[0]) if row and row[0] else ""


def _rules_between(before: str, after: str) -> set[str]:
    """Names of rules that differ; none if the earlier rules are unknown. A rule that an earlier
    version did not have had its default."""
    if not before or before == after:
        return set()
    old, new = (dict(part.split("=", 1) for part in text.split(",")) for text in (before, after))
    fields = Settings.model_fields
    defaults = {name: str(fields[name].default) for name in new if name in fields}
    return {name for name in old.keys() | new.keys() if (defaults | old).get(name) != new.get(name)}


def _version(name: str) -> str:
    return name.partition(".")[0]


def _number(name: str) -> int:
    match = _NAME.fullmatch(name)
    return int(match[2]) if match else 0
