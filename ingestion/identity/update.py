"""Updates the tables of who is one person to what the event log holds.

Only what new links touch is judged again: the components of links (`ingestion.identity.persons`)
that their ends belong to. Everything is computed again if the tables are missing or damaged, or
were made by other rules or code. One commit publishes all tables, so a killed run leaves the
previous ones.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ctwa.lock import refresh_lock
from ctwa.settings import Settings
from ingestion.identity.links import LINKS, SAME_LINK, links_after
from ingestion.identity.tables import DATASET, HELD, IDENTITY, Rules, judge
from ingestion.lake.check import check
from ingestion.lake.lake import Lake, LakeDamagedError, conform

log = logging.getLogger(__name__)

_FEW = 100_000
"""So many changed identities always stay in a table of their own; if there are more, up to a
sixteenth of all identities do."""

_CURRENT = """
    select * from {identities}
    where identity_key not in (select identity_key from {identities_changed})
    union all
    select * from {identities_changed}
"""

_ONCE = f"""
    select left_key, min(left_kind) as left_kind, right_key, min(right_kind) as right_kind,
        waba_id, link_kind, min(first_observed_at) as first_observed_at,
        max(last_observed_at) as last_observed_at, max(last_recorded_at) as last_recorded_at
    from (%s)
    group by {SAME_LINK}
"""  # noqa: S608
_TOUCHED = f"""
    with identities_now as ({_CURRENT}),
    touched as (
        select component_key from identities_now
        where identity_key in (
            select left_key from {{fresh}} union all select right_key from {{fresh}}
        )
    )
    select * from identities_now
    where component_key in (select component_key from touched)
"""  # noqa: S608
_CHANGES = """
    select * from {changed}
    union all
    select * from {identities_changed}
    where identity_key not in (select identity_key from {changed})
"""
_LINKS_OF = """
    select * from {links} where left_key in (select identity_key from {known})
    union all
    select * from {fresh}
"""
_DIFFERING = """
    select judged.identity_key, judged.person_key, judged.is_shared, judged.component_key,
        case
            when judged.person_key = known.person_key and judged.is_shared = known.is_shared
                then known.changed_seq
            else judged.changed_seq
        end as changed_seq
    from {judged} as judged
    left join {known} as known on judged.identity_key = known.identity_key
    where known.identity_key is null
        or judged.person_key <> known.person_key
        or judged.is_shared <> known.is_shared
        or judged.component_key <> known.component_key
"""
_SEEN = """
    select judged.* replace (
        case
            when judged.holder_key is not distinct from known.holder_key
                and judged.held_from is not distinct from known.held_from
                and judged.last_seen_earlier_at is not distinct from known.last_seen_earlier_at
                then coalesce(known.changed_seq, judged.changed_seq)
            else judged.changed_seq
        end as changed_seq
    )
    from {judged} as judged
    left join {phones_seen} as known using (phone_key, waba_id, bsuid_key)
    union all
    select * from {phones_seen}
    where component_key not in (select component_key from {touched})
"""
_REFUSED = """
    select * from {judged}
    union all
    select * from {refused}
    where component_key not in (select component_key from {touched})
"""


@dataclass(frozen=True, slots=True)
class IdentityCounts:
    """What one run did; all zero if there was nothing new."""

    whole: bool = False
    """Whether everything was computed again."""
    links: int = 0
    """Links that were judged."""
    judged: int = 0
    """Identities that were judged."""
    changed: int = 0
    """Identities that are new or different."""


def land_identity(settings: Settings, *, full: bool = False) -> IdentityCounts:
    """Update the tables of who is one person to the event log; with `full`, compute all of them
    again.

    Whatever should be included must have landed before. Raises `LakeError`, `RefreshBusyError`.
    """
    with refresh_lock(settings):
        lake = Lake.from_settings(settings)
        return bring_up_to_date(lake, Rules.of(settings), full=full)


def bring_up_to_date(
    lake: Lake, rules: Rules, *, home: Lake | None = None, full: bool = False
) -> IdentityCounts:
    """The same with these rules, into another lake (`home`) than the one with the event log."""
    tables = _Tables(home or lake, rules)
    newest = lake.query("select max(seq) as n from {e}", e="event_log/envelopes")["n"][0].as_py()
    seq = int(newest or 0)
    since = None if full else tables.seq()
    if since is not None and since <= seq:
        fresh = links_after(lake, since)
        if not fresh.num_rows:
            return IdentityCounts()
        try:
            return tables.add(fresh, seq)
        except duckdb.Error as error:
            log.warning(
                "the tables of identities cannot be read (%s): they are computed again",
                type(error).__name__,
            )
    return tables.make(links_after(lake, None), seq)


def lake_for_rules(lake: Lake, rules: Rules, elsewhere: Lake) -> Lake:
    """The lake that has the tables by these rules: `lake` itself, else `elsewhere`, made there
    now."""
    if _Tables(lake, rules).seq() is not None:
        return lake
    bring_up_to_date(lake, rules, home=elsewhere)
    return elsewhere


def drop(lake: Lake) -> None:
    """Delete the tables; the next run computes them again.

    Call it before rows of the event log are changed or removed, so that a run that is killed in
    between leaves nothing from before that change.
    """
    with suppress(FileNotFoundError):
        lake.fs.rm(f"{lake.root}/{DATASET}", recursive=True)


class _Tables:
    """The dataset `identity` of one lake, made by these rules."""

    def __init__(self, lake: Lake, rules: Rules) -> None:
        self.lake, self.rules = lake, rules
        try:
            lake.sweep(DATASET)
            is_whole = not check(lake, [DATASET], budget=0)
        except LakeDamagedError:
            is_whole = False
        if not is_whole:
            log.warning("the tables of identities are damaged: they are computed again")
            drop(lake)
        lake.ensure(DATASET, IDENTITY)

    def seq(self) -> int | None:
        """Up to which envelope these rules made the tables; None: they must be computed again."""
        try:
            rows = self._query("select * from {progress}").to_pylist()
        except duckdb.Error:
            return None
        if len(rows) != 1 or rows[0] != self._progress(rows[0]["seq"], rows[0]["links"]):
            return None
        return int(rows[0]["seq"])

    def make(self, links: pa.Table, seq: int) -> IdentityCounts:
        """Compute everything from all links."""
        judged = judge(self.lake, links, self.rules, seq)
        self._publish(
            {
                "links": links,
                "identities": judged.identities,
                "identities_changed": judged.identities.slice(0, 0),
                "phones_seen": judged.phones_seen,
                "phones_held": self.lake.query(HELD, seen=judged.phones_seen),
                "refused": judged.refused,
                "progress": self._progress_table(seq, links.num_rows),
            }
        )
        count = judged.identities.num_rows
        return IdentityCounts(True, links.num_rows, count, count)

    def add(self, fresh: pa.Table, seq: int) -> IdentityCounts:
        """Add new links and what they change. Raises `duckdb.Error` if the tables cannot be
        read."""
        known = self._query(_TOUCHED, fresh=fresh)
        links = self._query(_ONCE % _LINKS_OF, known=known, fresh=fresh)
        judged = judge(self.lake, links.select(LINKS.names), self.rules, seq)
        changed = self._query(_DIFFERING, judged=judged.identities, known=known)
        seen = self._query(_SEEN, judged=judged.phones_seen, touched=known)
        replaced = {
            **self._with_identities(changed),
            "phones_seen": seen,
            "phones_held": self.lake.query(HELD, seen=seen),
            "refused": self._query(_REFUSED, judged=judged.refused, touched=known),
        }
        (counts,) = self._query("select * from {progress}").to_pylist()
        total = self._count("links") + fresh.num_rows
        if total > _FEW + 2 * counts["links"]:
            sightings = "select * from {links} union all select * from {fresh}"
            replaced["links"] = self._query(_ONCE % sightings, fresh=fresh)
            counts["links"] = replaced["links"].num_rows
            fresh = fresh.slice(0, 0)
        replaced["progress"] = self._progress_table(seq, counts["links"])
        self._publish(replaced, appended={"links": fresh})
        self.lake.compact(DATASET, IDENTITY)
        return IdentityCounts(False, links.num_rows, judged.identities.num_rows, changed.num_rows)

    def _with_identities(self, changed: pa.Table) -> dict[str, pa.Table]:
        """Changed identities in their own table, or merged into the others once they are many."""
        changes = self._query(_CHANGES, changed=changed)
        if changes.num_rows <= max(_FEW, self._count("identities") // 16):
            return {"identities_changed": changes}
        return {
            "identities": self._query(_CURRENT, identities_changed=changes),
            "identities_changed": changes.slice(0, 0),
        }

    def _progress(self, seq: int, links: int) -> dict[str, Any]:
        return {
            "seq": seq,
            "silence_days": self.rules.silence.days,
            "degree": self.rules.degree,
            "code": _code(),
            "links": links,
        }

    def _progress_table(self, seq: int, links: int) -> pa.Table:
        return pa.Table.from_pylist([self._progress(seq, links)], schema=IDENTITY["progress"])

    def _publish(
        self, replaced: Mapping[str, pa.Table], appended: Mapping[str, pa.Table] | None = None
    ) -> None:
        with self.lake.commit(DATASET) as commit:
            for table, rows in replaced.items():
                commit.remove(table, self.lake.files(DATASET, table))
                commit.write(table, conform(rows, IDENTITY[table]))
            for table, rows in (appended or {}).items():
                commit.write(table, conform(rows, IDENTITY[table]))

    def _count(self, table: str) -> int:
        sql = f"select count(*) as n from {{{table}}}"  # noqa: S608
        return int(self._query(sql)["n"][0].as_py())

    def _query(self, sql: str, **tables: pa.Table) -> pa.Table:
        stored: dict[str, str | pa.Table] = {name: f"{DATASET}/{name}" for name in IDENTITY}
        return self.lake.query(sql, **(stored | tables))


@cache
def _code() -> str:
    """Hash of this package: different code may find different persons."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


__all__ = ["IdentityCounts", "bring_up_to_date", "drop", "lake_for_rules", "land_identity"]
