"""`ctwa rules try`: what chat rules would change, before they are switched on.

Leads and reports are built twice, as they are and as the rules would have it, by what `diff-rules`
builds with. Nothing is landed, published or sent, and nothing of what was said is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from comparison.sides import CHAT_RULES, CURRENT, RuleSet
from ctwa.lock import refresh_lock
from ctwa.settings import Settings
from ingestion.event_log.trial import Signals
from ingestion.parser.chat_rules import ChatRules, number_key
from ingestion.vault.vault import microseconds
from orchestration.comparison import Build, compare_sides, scratch
from orchestration.rebuild import ready_lake

MOST = 0.5
"""Share of all chats from which on a rule is named: it says little of any of them."""

_BY_DAY = """
    select split_part(event_id, ':', 1) as rule_id,
        cast(timezone($zone, occurred_at) as date) as day,
        count(*) as outcomes, count(distinct lead_id) as leads
    from b.marts.fct_outcomes where source = 'chat'
    group by all order by day desc, rule_id
"""
_SHARES = """
    with chats as (
        select lead_id from b.marts.fct_leads where not is_test and business_number_id is not null
    )
    select split_part(event_id, ':', 1) as rule_id, count(distinct lead_id) as leads,
        (select count(*) from chats) as chats
    from b.marts.fct_outcomes
    where source = 'chat' and lead_id in (select lead_id from chats)
    group by all
"""
_MOVED = """
    with ranks(stage, place) as (
        values ('lead', 1), ('qualified', 2), ('opportunity', 3), ('won', 4), ('lost', 0),
            ('disqualified', 0)
    )
    select here.lead_id, coalesce(here.campaign_name, '(' || here.channel || ')') as campaign,
        there.current_stage as stage_before, here.current_stage as stage_after,
        there.won_value_reporting as value_before, here.won_value_reporting as value_after
    from b.marts.fct_leads as here
    inner join a.marts.fct_leads as there on here.lead_id = there.lead_id
    left join ranks as now on here.current_stage = now.stage
    left join ranks as before on there.current_stage = before.stage
    where (here.current_stage, here.won_value_reporting, here.is_qualified)
        is distinct from (there.current_stage, there.won_value_reporting, there.is_qualified)
    order by abs(coalesce(now.place, 1) - coalesce(before.place, 1)) desc,
        abs(coalesce(here.won_value_reporting, 0) - coalesce(there.won_value_reporting, 0)) desc,
        here.lead_id
    limit 5
"""


@dataclass(frozen=True)
class Trial:
    """What rules would change. `tables`: as of a comparison. `by_day`, `moved`: rows by column."""

    rules: ChatRules
    signals: Signals
    tables: Mapping[str, pa.Table]
    by_day: list[dict[str, Any]]
    moved: list[dict[str, Any]]
    notes: list[str]
    """What is odd about the rules: never met, met by most chats, numbers that nobody has."""


def try_chat_rules(
    settings: Settings,
    rules: ChatRules,
    name: str,
    *,
    as_of: date | None = None,
    build: Build | None = None,
) -> Trial:
    """Compare the leads as they are with what these rules would make of them.

    Raises `RefreshBusyError`, `DiffRulesError`, `VaultError`.
    """
    day = as_of or datetime.now(ZoneInfo(settings.reporting_timezone)).date()
    side = RuleSet(f"{CHAT_RULES}={name}", settings, chat_rules=rules)
    with refresh_lock(settings), scratch(settings) as folder:
        ready_lake(settings)
        tables, (a, b) = compare_sides([RuleSet(CURRENT, settings), side], folder, day, build=build)
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            for alias, path in (("a", a), ("b", b)):
                literal = str(path).replace("'", "''")
                connection.execute(f"attach '{literal}' as {alias} (read_only)")
            zone = {"zone": settings.reporting_timezone}
            by_day = connection.sql(_BY_DAY, params=zone).to_arrow_table().to_pylist()
            shares = connection.sql(_SHARES).to_arrow_table().to_pylist()
            moved = connection.sql(_MOVED).to_arrow_table().to_pylist()
        signals = Signals.read(b.with_suffix(".signals"))
    met = {row["rule_id"] for row in by_day}
    ends = microseconds(datetime.combine(day, time.max, ZoneInfo(settings.reporting_timezone)))
    notes = [*_met_by_most(shares), *_never_met(rules, signals, met, ends)]
    return Trial(rules, signals, tables, by_day, moved, notes)


def _met_by_most(shares: list[dict[str, Any]]) -> Iterator[str]:
    for row in shares:
        if row["chats"] and row["leads"] > MOST * row["chats"]:
            yield (
                f"{row['rule_id']} is met by {row['leads']:,} of {row['chats']:,} chats: a rule "
                "that most meet says little of any; narrow it"
            )


def _never_met(rules: ChatRules, signals: Signals, met: set[str], ends_us: int) -> Iterator[str]:
    known = {number_key(number) for number in signals.numbers}
    for entry in rules.entries:
        name = entry["id"]
        strange = sorted(set(entry["numbers"] or ()) - known)
        if strange:
            yield f"{name}: no message of the kept bodies is of the number {', '.join(strange)}"
        if entry["from_us"] > ends_us:
            yield f"{name}: its valid_from is later than the last day of this comparison"
            continue
        unmet = [n for n in range(len(entry["parts"])) if not signals.met[name, n]]
        if not unmet and name not in met:
            yield f"{name}: each of its conditions is met somewhere, all of them in no one chat"
        for place, part in enumerate(entry["parts"]):
            if place in unmet:
                words = [*part.get("names", part.get("words", ())), part.get("pattern")]
                what = ", ".join(filter(None, words))
                yield (
                    f"{name}: {part['kind']}{f' ({what})' if what else ''} is met by no message of "
                    "the kept bodies"
                )
