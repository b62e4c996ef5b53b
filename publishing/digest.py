"""The weekly digest: Monday's lines, what a qualified lead costs, alarms; by e-mail and webhook.

Made from the published marts, in the reader's language, with the texts of the report. It names
campaigns and ads, never a person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from html import escape
from typing import Any

import duckdb
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal, format_percent

from ctwa.settings import Settings
from publishing.notify import Notified, send_message
from publishing.publication import Publication
from publishing.report.facts import ReportError
from publishing.report.page import texts_of

DAYS = 28
"""Four whole weeks, compared with the four before at equal age."""

# What qualified by the same age on both sides: as many days after the first touch as have passed
# for the later period (rule R11); as in the report.
_FIGURES = """
select
    (select case when count(spend_reporting) = count(*) then coalesce(sum(spend_reporting), 0) end
     from marts.channel_performance
     where report_date between $first and $last) as spend,
    count(*) as leads,
    count(*) filter (
        is_qualified and epoch(qualified_at) - epoch(first_touch_at)
        <= 86400 * (cast($seen as date) - 1 - first_touch_date)
    ) as qualified
from marts.fct_leads
where first_touch_date between $first and $last and not coalesce(is_excluded, false)
"""
# Weeks of these days whose published spend or leads were changed by more than a twentieth: as the
# report says it. Leads that qualify later, and changed rules, are no corrections.
_RESTATED = """
with changed as (
    select
        date_trunc('week', report_date) as week, min(report_date) as first_day,
        max(report_date) as last_day, max(restated_on) as restated_on,
        sum(abs(coalesce(spend_reporting_delta, 0))) as spend, sum(abs(leads_delta)) as leads
    from marts.restatements
    where report_date between $first and $last
        and cause not in ('late_outcome', 'rules', 'stage_mapping', 'chat_rules')
    group by week
),

whole as (
    select
        date_trunc('week', report_date) as week, sum(spend_reporting) as spend, sum(leads) as leads
    from marts.channel_performance
    where report_date between $first and $last
    group by week
)

select first_day, last_day, restated_on, week
from changed
left join whole using (week)
where changed.spend > coalesce(whole.spend, 0) / 20 or changed.leads > coalesce(whole.leads, 0) / 20
order by week
"""
_SHARES = ("spend_share", "qualified_share", "share")
_MONEY = (
    "spend", "cost_low", "cost_high", "peer_cost", "spend_delta", "target_cost_per_qualified_lead",
    "expected_cost_per_qualified_lead_low", "expected_cost_per_qualified_lead_high",
    "spend_so_far", "expected_spend", "monthly_budget",
)  # fmt: skip
_REPORTING_MONEY = ("spend_delta", "unallocated", "monthly_spend")
# What alarms measure: shares, or a number of hours or days (alarms.js).
_MEASURED = ("measured", "expected_low", "expected_high")
_SHARE_ALARMS = (
    "referral_share", "withheld_messages", "unresolved_ads", "unallocated_spend",
    "unmatched_outcomes", "quarantine", "shared_identifiers",
)  # fmt: skip
_DAY_ALARMS = ("silent_sources", "meta_token", "api_versions")


@dataclass(frozen=True)
class Part:
    """Sentences of the digest, or points under a title: what about, and what is said of it."""

    title: str = ""
    sentences: Sequence[str] = ()
    points: Sequence[tuple[str, str]] = ()
    link: str = ""


@dataclass(frozen=True)
class Digest:
    """One message, to be read as plain text or as HTML."""

    subject: str
    parts: Sequence[Part] = field(default_factory=tuple)
    language: str = "en"

    @property
    def text(self) -> str:
        made = []
        for part in self.parts:
            lines = [part.title, *part.sentences]
            lines += [f"• {head}\n  {told}" for head, told in part.points]
            made.append("\n".join(line for line in lines if line))
        return "\n\n".join(made)

    @property
    def html(self) -> str:
        """Without pictures, scripts or addresses but the report's: readers fetch nothing."""
        made = []
        for part in self.parts:
            if part.title:
                made.append(f"<h2 style='font-size:1.05em'>{escape(part.title)}</h2>")
            if part.link:
                made += [
                    f"<p><a href='{escape(part.link)}'>{escape(s)}</a></p>" for s in part.sentences
                ]
            else:
                made += [f"<p>{escape(sentence)}</p>" for sentence in part.sentences]
            if part.points:
                points = (
                    f"<li style='margin-bottom:.6em'><b>{_isolated(head)}</b>"
                    f"<br>{_isolated(told)}</li>"
                    for head, told in part.points
                )
                made.append(f"<ul style='padding-left:1.2em'>{''.join(points)}</ul>")
        return (
            f"<!doctype html><html lang='{self.language}'><meta charset='utf-8'>"
            "<body style='font-family:sans-serif;max-width:42em;line-height:1.45'>"
            f"{''.join(made)}</body></html>"
        )


def _isolated(text: str) -> str:
    """Text that may begin with a name of any script."""
    return f"<bdi>{escape(text)}</bdi>"


class _Words:
    """Texts, numbers, money and dates of one language."""

    def __init__(self, language: str, currency: str) -> None:
        self.texts = texts_of(language)
        self.locale = language.replace("-", "_")
        self.currency = currency

    def text(self, key: str, **values: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), self.texts[key])

    def word(self, group: str, value: str) -> str:
        return self.texts.get(f"{group}.{value}", value.replace("_", " "))

    def money(self, value: Any, currency: str | None = None) -> str:
        if value is None:
            return "–"
        made: str = format_currency(value, currency or self.currency, locale=self.locale)
        return made

    def percent(self, value: float) -> str:
        made: str = format_percent(value, locale=self.locale)
        return made

    def day(self, day: date) -> str:
        made: str = format_date(day, format="medium", locale=self.locale)
        return made

    def value(self, name: str, value: Any, given: Mapping[str, Any]) -> str | None:
        """A value of a reason as people read it; None if there is none."""
        if value is None:
            return None
        if name in _SHARES:
            return self.percent(value)
        if name in _REPORTING_MONEY:
            return self.money(value)
        if name in _MONEY:
            return self.money(value, given.get("currency"))
        if name in _MEASURED:
            return self.measured(given.get("alarm"), value)
        if name.startswith("rate_difference"):
            points = format_decimal(round(100 * abs(value), 1), locale=self.locale)
            return self.text("answering.points", points=points)
        if name.endswith("_group"):
            return self.word("answer_in", value)
        if name in ("alarm", "cause"):
            return self.word(name, value)
        if isinstance(value, int | float):
            return str(format_decimal(round(value, 1), locale=self.locale))
        if re.fullmatch(r"\d{4}-\d\d-\d\d", str(value)):
            return self.day(date.fromisoformat(value))
        return str(value)

    def measured(self, alarm: str | None, value: float) -> str:
        """What an alarm measures, in its unit."""
        if alarm in _SHARE_ALARMS:
            made: str = format_percent(value, format="#,##0.0%", locale=self.locale)
            return made
        whole = str(format_decimal(round(value), locale=self.locale))
        if alarm == "envelopes_missing":
            return self.text("alarm.hours", count=whole)
        if alarm in _DAY_ALARMS:
            return self.text("alarm.days", count=whole)
        return str(format_decimal(round(value, 2), locale=self.locale))


def make_digest(settings: Settings) -> Digest:
    """The digest of the published marts. Raises `ReportError` if there are none."""
    publication = Publication.read(settings.marts_path)
    if publication is None:
        raise ReportError(
            f"there are no published marts at {settings.marts_path}; run `ctwa refresh` first"
        )
    words = _Words(settings.digest_language, settings.reporting_currency)
    with duckdb.connect(str(settings.marts_path), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        found = connection.execute("select table_name from duckdb_tables()").fetchall()
        tables = {name for (name,) in found}
        parts = [Part(sentences=_cost(connection, words, publication.as_of))]
        if "monday" in tables:
            parts.append(_monday(connection, words))
        if "restatements" in tables:
            parts.append(Part(sentences=_restated(connection, words, publication.as_of)))
        if "health_alarms" in tables:
            parts.append(_alarms(connection, words))
    if settings.report_url:
        told = words.text("digest.link", url=settings.report_url)
        parts.append(Part(sentences=[told], link=settings.report_url))
    subject = words.text("digest.subject", date=words.day(publication.as_of))
    kept = [part for part in parts if part.sentences or part.points]
    return Digest(subject, kept, settings.digest_language)


def send_digest(settings: Settings) -> Notified:
    """Send the digest by every channel that is set. Raises `ReportError` without marts."""
    made = make_digest(settings)
    return send_message(settings, made.subject, made.text, made.html)


def _cost(connection: duckdb.DuckDBPyConnection, words: _Words, as_of: date) -> list[str]:
    sides = []
    for back in (0, DAYS):
        seen = as_of - timedelta(days=back)
        first, last = seen - timedelta(days=DAYS), seen - timedelta(days=1)
        row = connection.execute(
            _FIGURES, {"first": first, "last": last, "seen": seen}
        ).fetchone() or (None, 0, 0)
        sides.append(row)
    (spend, leads, qualified), before = sides
    lines = [
        words.text(
            "digest.figures",
            days=str(DAYS), spend=words.money(spend), leads=str(leads), qualified=str(qualified),
        ),
        words.text(
            "digest.cost",
            now=words.money(_ratio(spend, qualified)),
            before=words.money(_ratio(before[0], before[2])),
        ),
    ]  # fmt: skip
    return lines if spend is not None else [*lines, words.text("digest.unread")]


def _ratio(spend: Any, people: int) -> Any:
    return None if spend is None or not people or not spend else spend / people


def _monday(connection: duckdb.DuckDBPyConnection, words: _Words) -> Part:
    rows = connection.execute(
        "select kind, reason_code, reason_values, money_at_stake_reporting, coalesce(ad_name, "
        "adset_name, campaign_name, account_name) as subject, campaign_name, what, alarm "
        "from marts.monday order by rank"
    ).fetchall()
    points = []
    for kind, code, values, stake, subject, campaign, what, alarm in rows:
        about = words.word("alarm", alarm) if alarm else subject or words.word("monday_what", what)
        if campaign and campaign != subject:
            about += f" · {campaign}"
        head = f"{words.word('monday_kind', kind)}: {about}"
        if stake is not None:
            head += f" ({words.money(stake)} {words.texts['monday.stake']})"
        points.append((head, _reason(words, kind, code, json.loads(values or "{}"))))
    return Part(words.texts["digest.monday"], points=points)


def _restated(connection: duckdb.DuckDBPyConnection, words: _Words, as_of: date) -> list[str]:
    first, last = as_of - timedelta(days=DAYS), as_of - timedelta(days=1)
    rows = connection.execute(_RESTATED, {"first": first, "last": last}).fetchall()
    # Weeks that follow each other are one, as in the report.
    runs: list[list[date]] = []
    for first_day, last_day, on, week in rows:
        if runs and week - runs[-1][3] == timedelta(days=7):
            runs[-1] = [runs[-1][0], last_day, max(runs[-1][2], on), week]
        else:
            runs.append([first_day, last_day, on, week])
    return [
        words.text("mark.restated", days=" – ".join(map(words.day, days)), on=words.day(on))
        for *days, on, _ in runs
    ]


def _reason(words: _Words, kind: str, code: str, given: Mapping[str, Any]) -> str:
    """The sentence of a code with its values; a general one where a value is missing."""
    values = {name: words.value(name, value, given) for name, value in given.items()}
    text = words.texts.get(f"monday_reason.{code}", "")
    needed = re.findall(r"\{(\w+)\}", text)
    if not text or any(values.get(name) is None for name in needed):
        return words.texts[f"monday_reason.{kind}"]
    return words.text(f"monday_reason.{code}", **{k: v for k, v in values.items() if v})


def _alarms(connection: duckdb.DuckDBPyConnection, words: _Words) -> Part:
    rows = connection.execute(
        "select alarm, since, mend from marts.health_alarms where status = 'warn' order by place"
    ).fetchall()
    if not rows:
        return Part(sentences=[words.texts["digest.no_alarms"]])
    points = []
    for alarm, since, mend in rows:
        told = words.texts.get(f"alarm_mend.{alarm}", mend or "")
        when = f" ({words.texts['alarm.since'].lower()} {words.day(since)})" if since else ""
        points.append((f"{words.word('alarm', alarm)}{when}", told))
    return Part(words.texts["health.alarms"] + ":", points=points)
