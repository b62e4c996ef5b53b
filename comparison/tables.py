"""The tables of a comparison of rules, and the file with the last comparison.

They are published beside the marts from `<data>/comparison.duckdb`. Each column has its meaning as
a comment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from ctwa.files import replacing
from ctwa.settings import Settings

MONEY = pa.decimal128(18, 6)
TEXT, DAY, COUNT, FLAG = pa.string(), pa.date32(), pa.int64(), pa.bool_()


def _schema(about: str, fields: Sequence[tuple[str, pa.DataType, str]]) -> pa.Schema:
    return pa.schema(
        [pa.field(name, kind, metadata={"comment": text}) for name, kind, text in fields],
        metadata={"comment": about},
    )


def _both(name: str, kind: pa.DataType, text: str) -> list[tuple[str, pa.DataType, str]]:
    return [
        (f"{name}_a", kind, f"{text}, under the rules a."),
        (f"{name}_b", kind, f"{text}, under the rules b."),
    ]


def _measure(name: str, kind: pa.DataType, text: str) -> list[tuple[str, pa.DataType, str]]:
    return [*_both(name, kind, text), (f"{name}_delta", kind, f"{text}: b minus a.")]


_ID = ("comparison_id", TEXT, "The comparison; see credit_diff_about.")
_CAMPAIGN = (
    "campaign_id",
    TEXT,
    "Id of the campaign as in campaign_performance; null for leads without an ad.",
)

CREDIT_DIFF = _schema(
    "One row per lead whose credit differs between two sets of rules, of the last comparison "
    "(`ctwa diff-rules`). Moves add up, by day and campaign, to the difference of the two marts.",
    [
        _ID,
        ("lead_id", TEXT, "The lead; its id under the rules a, if the rules b give it another."),
        (
            "change",
            TEXT,
            "appeared, vanished, moved (other campaign or channel), redated (other day), "
            "requalified, excluded, included, reclassified (other touch, ad or basis within the "
            "same campaign and day), latest_touch (credit stays, the latest touch differs).",
        ),
        ("cause", TEXT, "The rule that makes the difference; `rules` if several may."),
        ("because", TEXT, "The difference in one sentence."),
        *_both("first_touch_date", DAY, "Day the lead counts on"),
        *_both("platform", TEXT, "Ad platform that is credited, null if no ad is"),
        *_both("campaign_id", TEXT, "Campaign as in campaign_performance, null if no ad is"),
        *_both("campaign_name", TEXT, "Name of the campaign"),
        *_both("ad_id", TEXT, "Ad that is credited"),
        *_both("channel", TEXT, "Channel"),
        *_both("basis", TEXT, "Basis"),
        *_both("latest_channel", TEXT, "Channel of the latest touch"),
        *_both("is_qualified", FLAG, "Whether the lead was ever qualified"),
        *_both("is_excluded", FLAG, "Whether the lead is left out of the counts"),
        *_both("why", TEXT, "Why the lead has its source, as in fct_leads"),
    ],
)

CREDIT_DIFF_CAMPAIGNS = _schema(
    "One row per campaign, and one per channel of leads without an ad: leads and cost under both "
    "sets of rules of the last comparison, over all days.",
    [
        _ID,
        ("platform", TEXT, "Ad platform; null for leads without an ad."),
        _CAMPAIGN,
        ("channel", TEXT, "Channel of leads without an ad; null for campaigns."),
        ("campaign_name", TEXT, "Name of the campaign."),
        *_measure("leads", COUNT, "Leads"),
        *_measure("qualified_leads", COUNT, "Leads that were ever qualified"),
        *_measure("spend_reporting", MONEY, "Spend in the reporting currency"),
        *_measure(
            "cost_per_qualified_lead_reporting",
            MONEY,
            "Spend over qualified leads, null without, and for leads that no platform bills",
        ),
    ],
)

CREDIT_DIFF_ABOUT = _schema(
    "One row: the comparison that credit_diff and credit_diff_campaigns hold.",
    [
        ("comparison_id", TEXT, "Id of the comparison."),
        ("rules_a", TEXT, "Rules before, as given."),
        ("rules_b", TEXT, "Rules after, as given."),
        ("as_of", DAY, "The last day that both sides cover."),
        ("made_at", pa.timestamp("us", "UTC"), "When it was made."),
    ],
)

CHANGES = [
    ("report_date", DAY, "Day of the spend, or of the leads' first touch."),
    ("platform", TEXT, "Ad platform; null for leads without an ad."),
    _CAMPAIGN,
    ("channel", TEXT, "Channel of leads without an ad; null for campaigns."),
    (
        "cause",
        TEXT,
        "restated_spend (the platform changed the amount), late_spend (a day without any "
        "before), exchange_rate, ad_resolved (an ad's campaign became known), ad_moved, "
        "late_message, late_link (two identities turned out to be one person, or not to be), "
        "late_referral, late_outcome, stage_mapping, chat_rules (applied again to kept bodies), "
        "exclusion, erased, day_boundary (time zone), rules, other.",
    ),
    ("spend_delta", MONEY, "Change of spend, in the account's currency."),
    (
        "spend_reporting_delta",
        MONEY,
        "Change of spend in the reporting currency; an amount without a rate counts "
        "as 0. Null if the reporting currency itself was changed in between.",
    ),
    ("leads_delta", COUNT, "Change of leads."),
    ("qualified_leads_delta", COUNT, "Change of leads that were ever qualified."),
]

RESTATEMENTS = _schema(
    "How figures of past days changed after they were published, by day, campaign and cause: what "
    "campaign_performance said at one publication, plus these rows, is exactly what it said at the "
    "next. Leads qualify after their day: `late_outcome` is cohorts maturing as expected.",
    [
        ("restated_on", DAY, "`as_of` of the publication with the change."),
        ("as_of", DAY, "`as_of` of the publication before; only days before it are included."),
        ("version", TEXT, "Version of the publication before."),
        *CHANGES,
    ],
)

DAY_CHANGES = _schema("Changes by campaign day and cause.", CHANGES)


CREDIT_TABLES: dict[str, pa.Schema] = {
    "credit_diff": CREDIT_DIFF,
    "credit_diff_campaigns": CREDIT_DIFF_CAMPAIGNS,
    "credit_diff_about": CREDIT_DIFF_ABOUT,
}


@dataclass(frozen=True)
class CreditDifference:
    """What differs between two databases with marts, `b` minus `a`."""

    leads: pa.Table
    """One row per lead whose credit differs; columns of `CREDIT_DIFF`, comparison_id null."""
    campaigns: pa.Table
    """Every campaign under both sides; columns of `CREDIT_DIFF_CAMPAIGNS`."""
    days: pa.Table
    """Deltas by campaign day and cause; columns of `DAY_CHANGES`."""


def comparison_path(settings: Settings) -> Path:
    """Path of the file with the last comparison."""
    return settings.data_dir / "comparison.duckdb"


def credit_tables(
    difference: CreditDifference, *, rules_a: str, rules_b: str, as_of: date
) -> dict[str, pa.Table]:
    """The three tables of a comparison, under a new comparison_id."""
    made_at = datetime.now(UTC)
    name = made_at.strftime("%Y%m%dT%H%M%S%f")
    about = {
        "comparison_id": name, "rules_a": rules_a, "rules_b": rules_b, "as_of": as_of,
        "made_at": made_at,
    }  # fmt: skip
    return {
        "credit_diff": _named(difference.leads, name),
        "credit_diff_campaigns": _named(difference.campaigns, name),
        "credit_diff_about": pa.Table.from_pylist(
            [about], schema=CREDIT_TABLES["credit_diff_about"]
        ),
    }


def save_comparison(settings: Settings, tables: Mapping[str, pa.Table]) -> None:
    """Replace the last comparison in one step."""
    final = comparison_path(settings)
    final.parent.mkdir(parents=True, exist_ok=True)
    with replacing(final) as draft, duckdb.connect(str(draft)) as connection:
        for name, table in tables.items():
            connection.register("incoming", table)
            connection.execute(f'create table "{name}" as from incoming')
            connection.unregister("incoming")


def load_comparison(settings: Settings) -> dict[str, pa.Table]:
    """The last comparison; empty tables if there is none, or one of an older version."""
    path = comparison_path(settings)
    tables = {name: schema.empty_table() for name, schema in CREDIT_TABLES.items()}
    if not path.exists():
        return tables
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            connection.execute("set timezone = 'UTC'")
            found = {n: connection.sql(f'from "{n}"').to_arrow_table() for n in tables}
            return {n: found[n].cast(CREDIT_TABLES[n]) for n in tables}
    except (duckdb.Error, pa.ArrowInvalid, ValueError):
        # From an older version: a new comparison takes a minute, and publishing must not fail.
        return tables


def drop_comparison(settings: Settings) -> None:
    """Delete the last comparison, for example after an erasure."""
    comparison_path(settings).unlink(missing_ok=True)


def _named(table: pa.Table, name: str) -> pa.Table:
    index = table.schema.get_field_index("comparison_id")
    return table.set_column(
        index, table.schema.field(index), pa.array([name] * len(table), pa.string())
    )
