"""The leads behind the figures: the newest ones, by pseudonym, without anything personal.

`id` is the start of the keyed hash `lead_id`. The page words why a lead has its source from the
columns of `fct_leads` that `why` is made of.
"""

from __future__ import annotations

from typing import Any

import duckdb

from publishing.report.columns import counts, millionths, steps, words

ID_CHARS = 12

_LEADS = """
with answers as (
    {answers}
)
select
    left(leads.lead_id, {chars}) as id, newest.day,
    cast(floor(epoch(leads.first_touch_at) / 60) as bigint) as minute, places.entity,
    leads.basis, leads.resolution, leads.current_stage as stage,
    concat_ws(' / ', nullif(leads.utm_source, ''), nullif(leads.utm_medium, '')) as utm,
    answers.answered_by, answers.seconds, coalesce(newest.age, -1) as age, newest.won_value,
    cast(coalesce(leads.has_click_id, false) as integer)
    + 2 * cast(coalesce(leads.is_from_form, false) as integer)
    + 4 * cast(coalesce(leads.is_boosted_post_candidate, false) as integer)
    + 8 * cast(coalesce(leads.first_touch_id <> leads.source_touch_id, false) as integer)
    + 16 * newest.replied + 32 * newest.won as signs
from newest
inner join marts.fct_leads as leads on newest.lead_id = leads.lead_id
inner join places on newest.key = places.key
left join answers on newest.lead_id = answers.lead_id
order by leads.first_touch_at desc, leads.lead_id
"""
_ANSWERS = """
    select
        lead_id, arg_min(answered_by, (started_at, conversation_id)) as answered_by,
        arg_min(coalesce(first_response_seconds, -1), (started_at, conversation_id)) as seconds
    from marts.fct_conversations
    where lead_id in (select lead_id from newest)
    group by lead_id
"""
_NO_ANSWERS = """
    select null::varchar as lead_id, null::varchar as answered_by, null::bigint as seconds
    where false
"""
SIGNS = {
    "click_id": 1, "form": 2, "boosted": 4, "later_source": 8, "replied": 16, "won": 32,
}  # fmt: skip
"""Bits of the column `signs`."""


def leads(connection: duckdb.DuckDBPyConnection, *, has_conversations: bool) -> dict[str, Any]:
    """The newest leads, newest first; needs the temporary tables of `facts.load_facts`.

    Seconds of -1: not answered; null: no chat. An age of -1: not qualified.
    """
    rows = connection.execute(
        _LEADS.format(answers=_ANSWERS if has_conversations else _NO_ANSWERS, chars=ID_CHARS)
    ).fetchall()
    columns: list[Any] = list(zip(*rows, strict=True)) or [()] * 13
    names = ("basis", "resolution", "stage", "utm", "answered_by")
    return {
        "id": list(columns[0]),
        "day": steps(columns[1]),
        "minute": steps(columns[2]),
        "entity": list(columns[3]),
        **{name: words(columns[i]) for i, name in enumerate(names, start=4)},
        "seconds": list(columns[9]),
        "age": list(columns[10]),
        "won_value": millionths(columns[11]),
        "signs": counts(columns[12]),
    }
