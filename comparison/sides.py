"""The two sides of a comparison: rules as people write them, and databases with marts.

    current                                     the settings as they are
    conversation_gap_days=7
    first_touch=paid,conversation_gap_days=7    several that differ from the settings
    project=../before                           another checkout's models: two versions of the rules
    chat_rules=new.yml                          other chat rules, over the bodies still kept

A database is a warehouse (schema `marts`) or a published file, which may be of an older version: a
column it lacks reads as null. `leads_<side>` has where each lead is counted, `spend_<side>` each
row of spend with the amount that its campaign's day counts of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ctwa.errors import CtwaError
from ctwa.settings import PROJECT_DIR, RULES, Settings, SettingsError, load_settings, name_of
from ingestion.parser.chat_rules import ChatRules, chat_rules_at

CURRENT = "current"
PROJECT = "project"
CHAT_RULES = "chat_rules"


class RuleError(CtwaError):
    """Rules that are not valid; the text names the rule and what it may be."""

    exit_code = 2


@dataclass(frozen=True)
class RuleSet:
    """One side of a comparison."""

    spec: str
    """The rules as given."""
    settings: Settings
    """The installation's settings, with the rules of this side."""
    project: Path = PROJECT_DIR
    """Folder of the `dbt_project.yml` whose models build this side."""
    chat_rules: ChatRules | None = None
    """Applied again to the bodies that are kept; None: what the lake has of earlier readings."""


def parse_rules(spec: str, settings: Settings, project: Path = PROJECT_DIR) -> RuleSet:
    """Read one side. Rules that it does not name are as in `settings`. Raises `RuleError`."""
    chosen: dict[str, str] = {}
    for part in (p.strip() for p in spec.split(",")):
        if part == CURRENT:
            continue
        name, equals, value = (text.strip() for text in part.partition("="))
        if not equals or not value:
            raise RuleError(
                f"{part or spec!r} is not a rule: write `{CURRENT}`, or name=value such as "
                f"conversation_gap_days=7"
            )
        if name not in (*RULES, PROJECT, CHAT_RULES):
            known = ", ".join((*RULES, PROJECT, CHAT_RULES))
            raise RuleError(f"there is no rule {name!r}; rules are {known}")
        if name in chosen:
            raise RuleError(f"{name} is given twice in {spec!r}")
        chosen[name] = value
    folder, file = chosen.pop(PROJECT, None), chosen.pop(CHAT_RULES, None)
    return RuleSet(
        spec=spec.strip(),
        settings=_with_rules(settings, chosen) if chosen else settings,
        project=_project(folder) if folder else project,
        chat_rules=_chat_rules(file, settings) if file else None,
    )


def differing_rules(a: RuleSet, b: RuleSet) -> dict[str, tuple[str, str]]:
    """Rules that differ -> the value on each side."""
    pairs = {name: (value, b.settings.rules[name]) for name, value in a.settings.rules.items()}
    pairs[PROJECT] = (str(a.project), str(b.project))
    pairs[CHAT_RULES] = (_versions(a.chat_rules), _versions(b.chat_rules))
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def refuse_mixed_money(differing: dict[str, tuple[str, str]]) -> None:
    """Raise `RuleError` if the sides have different reporting currencies (rule R13)."""
    if "reporting_currency" in differing:
        a, b = differing["reporting_currency"]
        raise RuleError(
            f"reporting_currency is {a} on one side and {b} on the other: amounts in two "
            f"currencies cannot be subtracted, and no lead depends on it; use one for both sides"
        )


def in_words(differing: dict[str, tuple[str, str]]) -> str:
    """How b differs from a, in words; empty if nothing differs."""
    texts = {name: rule.difference for name, rule in RULES.items()}
    texts[PROJECT] = "the models of {b} instead of those of {a}"
    texts[CHAT_RULES] = "chat rules {b} instead of {a}"
    joined = "; ".join(texts[name].format(a=a, b=b) for name, (a, b) in differing.items())
    return joined[:1].upper() + joined[1:]


def _with_rules(settings: Settings, chosen: dict[str, str]) -> Settings:
    """The settings with other rules, validated like all settings."""
    given = {name: getattr(settings, name) for name in type(settings).model_fields}
    try:
        return load_settings(_env_file=None, **(given | chosen))
    except SettingsError as error:
        text = str(error).replace(" (see .env.example)", "")
        for name in chosen:
            text = text.replace(f"{name_of(name)}:", f"{name}={chosen[name]}:")
        raise RuleError(text) from None


def _chat_rules(file: str, settings: Settings) -> ChatRules:
    found = chat_rules_at(Path(file).expanduser().absolute(), settings)
    if found.problems:
        raise RuleError("\n".join(found.problems))
    return found


def _versions(rules: ChatRules | None) -> str:
    if rules is None:
        return "those in force"
    return " + ".join(f"{e['id']} {e['version']}" for e in rules.entries) or "none"


def _project(folder: str) -> Path:
    path = Path(folder).expanduser().resolve()
    if not (path / "dbt_project.yml").exists():
        raise RuleError(
            f"{PROJECT}={folder}: there is no dbt_project.yml; give the root of a checkout"
        )
    return path


# ---- databases with marts ---------------------------------------------------------------------


class NotComparableError(CtwaError):
    """A file has no marts to compare; the text says which file, and what it lacks."""


COLUMNS: Mapping[str, Mapping[str, str]] = {
    "fct_leads": {
        "lead_id": "varchar", "first_touch_id": "varchar", "first_touch_at": "timestamptz",
        "first_touch_date": "date", "channel": "varchar", "basis": "varchar",
        "platform": "varchar", "campaign_id": "varchar", "campaign_name": "varchar",
        "ad_id": "varchar", "ad_name": "varchar", "resolution": "varchar",
        "latest_channel": "varchar", "latest_ad_id": "varchar", "is_qualified": "boolean",
        "source_touch_id": "varchar", "source_touch_at": "timestamptz",
        "is_excluded": "boolean", "exclusion_reason": "varchar", "why": "varchar",
    },
    "fct_touches": {"touch_id": "varchar", "lead_id": "varchar"},
    "fct_outcomes": {
        "source": "varchar", "event_id": "varchar", "lead_id": "varchar", "stage": "varchar",
        "stage_label": "varchar", "funnel_stage": "varchar", "occurred_at": "timestamptz",
    },
    "fct_ad_spend": {
        "platform": "varchar", "account_id": "varchar", "ad_id": "varchar",
        "spend_date": "date", "row_kind": "varchar", "campaign_id": "varchar",
        "spend": "decimal(18, 6)", "spend_reporting": "decimal(18, 6)",
        "exchange_rate": "decimal(18, 8)",
    },
    "campaign_performance": {
        "report_date": "date", "platform": "varchar", "campaign_id": "varchar",
        "campaign_name": "varchar", "spend": "decimal(18, 6)",
        "spend_reporting": "decimal(18, 6)", "leads": "bigint", "qualified_leads": "bigint",
    },
}  # fmt: skip
_NEEDED = ("fct_leads", "campaign_performance")

_VIEWS = """
create temp view leads_{side} as
select
    lead_id, first_touch_id, first_touch_at, first_touch_date, basis, channel, ad_id, ad_name,
    resolution, campaign_id, latest_channel, latest_ad_id, exclusion_reason,
    coalesce(source_touch_id, first_touch_id) as source_touch_id,
    coalesce(source_touch_at, first_touch_at) as source_touch_at,
    coalesce(is_qualified, false) as is_qualified,
    coalesce(is_excluded, false) as is_excluded,
    case
        when platform is null then null
        when campaign_id is null and platform = 'meta' then 'Meta ads not resolved'
        when campaign_id is null
            then upper(platform[1]) || platform[2:] || ' clicks not resolved'
        else campaign_name
    end as campaign_name,
    case when not coalesce(is_excluded, false) then first_touch_date end as report_date,
    case when not coalesce(is_excluded, false) then platform end as platform,
    case when not coalesce(is_excluded, false) and platform is not null
        then coalesce(campaign_id, 'unresolved') end as campaign_key,
    case when not coalesce(is_excluded, false) and platform is null
        then channel end as source_channel
from {fct_leads};
create temp view why_{side} as select lead_id, why from {fct_leads};
create temp view touches_{side} as select touch_id, lead_id from {fct_touches};
create temp view outcomes_{side} as select * from {fct_outcomes};
create temp view performance_{side} as select * from {campaign_performance};
create temp view account_days_{side} as
select distinct platform, account_id, spend_date from {fct_ad_spend};
create temp view spend_{side} as
with rows as (
    select *, coalesce(campaign_id, 'unallocated:' || account_id) as campaign_key
    from {fct_ad_spend}
), unconverted as (
    select distinct platform, campaign_key, spend_date from rows where spend_reporting is null
)
select
    rows.platform, rows.account_id, rows.ad_id, rows.spend_date, rows.row_kind,
    rows.campaign_key, rows.spend, rows.exchange_rate,
    unconverted.spend_date is null as is_converted,
    case when unconverted.spend_date is null then rows.spend_reporting else 0 end
        as counted_reporting
from rows
left join unconverted
    on
        rows.platform = unconverted.platform
        and rows.campaign_key = unconverted.campaign_key
        and rows.spend_date = unconverted.spend_date
"""


_RENAMED = """
create temp table renamed as
select b.lead_id as lead_id_b, a.lead_id as lead_id_a
from {a} as a
inner join {b} as b on a.first_touch_id = b.first_touch_id
where
    a.lead_id not in (select lead_id from {b})
    and b.lead_id not in (select lead_id from {a})
"""
"""Leads with the same first touch that differ only in their id: `<id>` and `<id>:<brand>` (E31)."""

_WITH_IDS_OF_A = """(
    select there.* replace (coalesce(renamed.lead_id_a, there.lead_id) as lead_id)
    from {table} as there
    left join renamed on there.lead_id = renamed.lead_id_b
)"""


def open_sides(connection: duckdb.DuckDBPyConnection, before: Path, after: Path) -> None:
    """Attach both files read-only and create their views. Raises `NotComparableError`."""
    sides: dict[str, dict[str, str]] = {}
    for side, path in (("a", before), ("b", after)):
        if not path.exists():
            raise NotComparableError(f"there is no file {path}")
        name = f"side_{side}"
        if side == "b" and path.samefile(before):
            name = "side_a"  # DuckDB attaches a file only once
        else:
            literal = "'" + str(path).replace("'", "''") + "'"
            connection.execute(f"attach {literal} as {name} (read_only)")
        sides[side] = {t: _select(connection, name, t, path) for t in COLUMNS}
    connection.execute(_RENAMED.format(**{s: sides[s]["fct_leads"] for s in sides}))
    for table in ("fct_leads", "fct_touches", "fct_outcomes"):
        sides["b"][table] = _WITH_IDS_OF_A.format(table=sides["b"][table])
    for side, tables in sides.items():
        connection.execute(_VIEWS.format(side=side, **tables))


def _select(connection: duckdb.DuckDBPyConnection, name: str, table: str, path: Path) -> str:
    """A subquery with all columns of `table`, typed; empty if the file lacks the table."""
    found = connection.execute(
        "select schema_name, column_name from duckdb_columns() where database_name = ? "
        "and table_name = ? and schema_name in ('marts', 'main')",
        [name, table],
    ).fetchall()
    if not found and table in _NEEDED:
        raise NotComparableError(f"{path} has no table marts.{table}")
    there = {column for _, column in found}
    columns = ", ".join(
        f"cast({c if c in there else 'null'} as {kind}) as {c}"
        for c, kind in COLUMNS[table].items()
    )
    if not found:
        return f"(select {columns} limit 0)"
    return f"(select {columns} from {name}.{found[0][0]}.{table})"  # noqa: S608
