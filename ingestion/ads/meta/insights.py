"""Reads insights of one ad account, as whole account days.

| asked | when |
|---|---|
| `GET act_<id>/insights` | first |
| `POST act_<id>/insights`, `GET <run>`, `GET <run>/insights` | much to read, or Meta says so |
| the same for half of the days | a run is too large or fails again and again, down to one day |

A day is returned only when its ad rows and its account total were both read to the end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from ingestion.ads.accounts import Account, AccountDay, Range, span
from ingestion.ads.meta.errors import (
    GraphError,
    GraphNotFoundError,
    GraphNotReadyError,
    GraphProblem,
    GraphRetentionError,
    GraphRunFailedError,
    GraphThrottledError,
    GraphTooMuchDataError,
    GraphUnavailableError,
    MetaDamageError,
    MetaShapeError,
    classify,
)
from ingestion.ads.meta.graph import GraphClient
from ingestion.ads.meta.objects import (
    AD_STATUSES,
    Row,
    decimal,
    identifier,
    integer,
    name,
    required,
    text,
)
from ingestion.apis.answers import write_json
from ingestion.source import SourceError

log = logging.getLogger(__name__)

MAX_RUNS_AT_ONCE = 4
RUN_TRIES = 3
PAGE_ROWS = 500
RUN_PATIENCE = 1800.0  # seconds until a report run counts as stalled

CONVERSATION_STARTED = "onsite_conversion.messaging_conversation_started_7d"
"""The only action type for a started conversation; similar ones have other endings."""

AD_FIELDS = (
    *("account_id", "account_currency", "campaign_id", "campaign_name", "adset_id"),
    *("adset_name", "ad_id", "ad_name", "spend", "impressions", "reach", "clicks"),
    *("inline_link_clicks", "actions", "date_start", "date_stop"),
)
ACCOUNT_FIELDS = (
    *("account_id", "account_currency", "spend", "impressions", "clicks"),
    *("date_start", "date_stop"),
)
_MICRO = Decimal("0.000001")


@dataclass
class Damage:
    """What could not be read in an account's answers. `rows`: number of ad rows, whose spend is
    then unallocated. `days`: days with an unreadable total, which stay as they were."""

    rows: int = 0
    days: set[date] = field(default_factory=set)


class InsightsReader:
    """Reads days of one account. `many_days`: use report runs from the start."""

    def __init__(self, client: GraphClient, account: Account, *, many_days: bool = False) -> None:
        self.damage = Damage()
        self._client, self._account = client, account
        self._edge = f"act_{account.account_id}/insights"
        self._by_runs = many_days

    def read_pieces(self, pieces: list[Range]) -> Iterator[tuple[Range, list[AccountDay]]]:
        """Each piece with its days, in the order given; report runs are started ahead."""
        ahead: dict[Range, str] = {}
        for number, piece in enumerate(pieces):
            self._client.renew_patience()
            if self._by_runs:
                for later in pieces[number : number + MAX_RUNS_AT_ONCE]:
                    if later not in ahead:
                        ahead[later] = self._start(later)
            yield piece, self._days(piece, ahead.pop(piece, None))

    def _days(self, piece: Range, run: str | None = None) -> list[AccountDay]:
        try:
            ads = self._ad_rows(piece, run)
            totals = self._pages(self._edge, self._params("account", ACCOUNT_FIELDS, piece))
        except GraphRetentionError:
            return self._retained_days(piece)
        check_fields(self._account.account_id, ads, totals)
        return split_days(self._account, piece, ads, totals, self.damage)

    def _retained_days(self, piece: Range) -> list[AccountDay]:
        """The days of a piece that Meta still keeps; the others are left out, never zero (E54)."""
        since, until = piece
        if since == until:
            log.warning(
                "ad account %s: Meta no longer keeps %s (37 months); left out, not taken as zero",
                self._account.account_id,
                since,
            )
            return []
        older, newer = _halves(piece)
        days = self._days(newer)
        if any(day.day == newer[0] for day in days):
            days = self._days(older) + days
        return days

    # ---- ad rows -------------------------------------------------------------------------

    def _ad_rows(self, piece: Range, run: str | None = None) -> list[Row]:
        try:
            if run is None and not self._by_runs:
                return self._pages(self._edge, self._params("ad", AD_FIELDS, piece))
            return self._by_run(piece, run)
        except GraphTooMuchDataError as error:
            if run is None and not self._by_runs:
                log.info("ad account %s: report runs from here on", self._account.account_id)
                self._by_runs = True
                return self._ad_rows(piece)
            if piece[0] == piece[1]:
                raise SourceError(
                    f"ad account {self._account.account_id}, {piece[0]}: Meta does not give even "
                    f"this one day ({error})"
                ) from None
            log.info("ad account %s: halving %s to %s", self._account.account_id, *piece)
            older, newer = _halves(piece)
            return self._ad_rows(older) + self._ad_rows(newer)

    def _by_run(self, piece: Range, run: str | None) -> list[Row]:
        """Rows of a report run; a failed one is started again, then the range is too large."""
        failure: GraphError | None = None
        for _ in range(RUN_TRIES):
            run = run or self._start(piece)
            try:
                self._await(run)
                return self._pages(f"{run}/insights", {"limit": PAGE_ROWS})
            except (GraphRunFailedError, GraphNotReadyError, GraphNotFoundError) as error:
                log.info("starting the report again: %s", error)
                failure, run = error, None
        assert failure is not None
        raise GraphTooMuchDataError(failure.problem)

    def _start(self, piece: Range) -> str:
        answer = self._client.post(self._edge, **self._params("ad", AD_FIELDS, piece))
        run = answer.get("report_run_id")  # a number or text
        if not run:
            raise GraphRunFailedError(GraphProblem(f"POST /{self._edge}", note="no report_run_id"))
        return str(run)

    def _await(self, run: str) -> None:
        """Wait until a run is completed to 100 %; raises by what the run says of its failure."""
        waited, missing, pause = 0.0, 0, 0.25
        while waited <= RUN_PATIENCE:
            try:
                state = self._client.get(run)
            except GraphNotFoundError:
                missing += 1  # right after the start a run may not be known everywhere
                if missing > 3:
                    raise
                state = {}
            status = state.get("async_status")
            percent = integer(state, "async_percent_completion")
            if status == "Job Completed" and percent == 100:
                return
            if status in ("Job Failed", "Job Skipped"):
                raise _failed(run, state)
            self._client.pause(pause)
            waited += pause
            pause = min(pause * 2, 30.0)
        raise GraphRunFailedError(
            GraphProblem(f"GET /{run}", note="the run does not come to an end")
        )

    # ---- requests ------------------------------------------------------------------------

    def _pages(self, path: str, params: Row) -> list[Row]:
        pages: list[list[Row]] = self._client.read_whole(path, compact, **params)
        return [row for page in pages for row in page]

    def _params(self, level: str, fields: tuple[str, ...], piece: Range) -> Row:
        params: Row = {
            "level": level,
            "time_increment": "1",
            "time_range": {"since": piece[0].isoformat(), "until": piece[1].isoformat()},
            "fields": ",".join(fields),
            "limit": PAGE_ROWS,
        }
        if level == "ad":
            # Without it archived ads are left out (E50). DELETED would be an error: deleted ads
            # are read by their own id, as far as Meta still reports them (`deleted.py`).
            params["filtering"] = [
                {"field": "ad.effective_status", "operator": "IN", "value": list(AD_STATUSES)}
            ]
        return params


def _failed(run: str, state: Row) -> GraphError:
    """The error of a failed run: since v25 it carries a code, which says what to do."""
    problem = GraphProblem(
        f"GET /{run}",
        code=_int(state.get("error_code")),
        subcode=_int(state.get("error_subcode")),
        note=str(state.get("async_status")),
    )
    error = classify(problem)
    if problem.code is None or isinstance(error, (GraphUnavailableError, GraphThrottledError)):
        return GraphRunFailedError(problem)
    return error


def _int(value: Any) -> int | None:
    return (
        int(value) if isinstance(value, (int, str)) and str(value).lstrip("-").isdigit() else None
    )


def _halves(piece: Range) -> tuple[Range, Range]:
    middle = piece[0] + (piece[1] - piece[0]) // 2
    return (piece[0], middle), (middle + timedelta(days=1), piece[1])


# ---- rows as whole days ----------------------------------------------------------------------


def compact(page: list[Row]) -> list[Row]:
    """The page, with `actions` as JSON text and a count of their own: a tenth of the memory."""
    for row in page:
        actions = row.get("actions")
        if actions is not None:
            row["platform_conversations"] = _conversations(actions)
            row["actions"] = write_json(actions).decode()
    return page


def check_fields(account_id: str, ads: list[Row], totals: list[Row]) -> None:
    """A field may be absent in a row; a field that is in no row at all has been renamed."""
    for what, rows in (("ad", ads), ("account", totals)):
        if rows and not any("spend" in row for row in rows):
            raise MetaShapeError(
                f"ad account {account_id}: none of {len(rows)} {what} rows has `spend`; Meta has "
                "changed the field, or META_API_VERSION is too new"
            )


def split_days(
    account: Account,
    piece: Range,
    ads: list[Row],
    totals: list[Row],
    damage: Damage | None = None,
) -> list[AccountDay]:
    """Every day of `piece`, also those without delivery, whose total Meta leaves out: it is zero.

    Raises `MetaShapeError` if rows contradict each other, so that no half day lands.
    """
    damage = damage or Damage()
    by_day: dict[date, dict[str, Row]] = {day: {} for day in span(*piece)}
    for row in ad_rows(account, piece, ads, damage):
        # If two pages show the same row, the later read is closer to the truth.
        by_day[row["spend_date"]][row["ad_id"]] = row
    total_of = {_day(body, by_day): body for body in totals}
    found: list[AccountDay] = []
    for day, rows in by_day.items():
        try:
            found.append(
                _day_read(account, day, total_of.get(day), [rows[a] for a in sorted(rows)])
            )
        except MetaDamageError:
            damage.days.add(day)
    return found


def ad_rows(
    account: Account,
    piece: Range,
    bodies: list[Row],
    damage: Damage | None = None,
) -> list[Row]:
    """Meta's rows of ads as rows of `spend_rows`; raises if one is for a day outside `piece`.

    A row with an unreadable id or amount is left out and counted in `damage`. What it spent is part
    of the account's total, so it becomes unallocated (rule R12).
    """
    days = dict.fromkeys(span(*piece))
    found: list[Row] = []
    for body in bodies:
        try:
            found.append(_ad_row(account, body, days))
        except MetaDamageError as error:
            log.warning("ad account %s: a row is left out: %s", account.account_id, error)
            if damage is not None:
                damage.rows += 1
    return found


def _day_read(account: Account, day: date, total: Row | None, ads: list[Row]) -> AccountDay:
    if total is None and any(row["spend"] for row in ads):
        # Taking it as zero would book all that the ads spent as a credit (E52).
        raise MetaShapeError(
            f"ad account {account.account_id}: ads spent on {day}, but the account's own total "
            "has no row for that day; nothing of that day has landed, the next run reads it again"
        )
    total = total or {}
    currency = text(total, "account_currency") or account.currency
    if others := {row["currency"] for row in ads} - {currency}:
        raise MetaShapeError(
            f"ad account {account.account_id}, {day}: ads in {', '.join(sorted(others))}, the "
            f"account in {currency}; amounts of two currencies cannot be one total (E43)"
        )
    return AccountDay(
        account=account,
        day=day,
        currency=currency,
        spend=_money(total),
        impressions=integer(total, "impressions") or 0,
        clicks=integer(total, "clicks") or 0,
        rows=ads,
    )


def _ad_row(account: Account, body: Row, days: dict[date, Any]) -> Row:
    return {
        "account_id": account.account_id,
        "spend_date": _day(body, days),
        "spend_level": "ad",
        "ad_id": identifier(body, "ad_id"),
        **{f: name(body, f) for f in ("ad_name", "adset_name", "campaign_name")},
        **{f: text(body, f) and identifier(body, f) for f in ("adset_id", "campaign_id")},
        "currency": text(body, "account_currency") or account.currency,
        "spend": _money(body),
        "impressions": integer(body, "impressions") or 0,
        "reach": integer(body, "reach"),  # not additive: absent is unknown
        "clicks": integer(body, "clicks") or 0,
        "inline_link_clicks": integer(body, "inline_link_clicks") or 0,
        "platform_conversations": body.get("platform_conversations", 0),
        "actions": body.get("actions"),
    }


def _day(body: Row, days: dict[date, Any]) -> date:
    start = required(body, "date_start")
    try:
        day = date.fromisoformat(start)
    except ValueError:
        raise MetaShapeError(f"`date_start` is not a day in Meta's answer: {start[:20]}") from None
    if day not in days or body.get("date_stop", start) != start:
        raise MetaShapeError(f"Meta's answer has a row for {day}, which was not asked for")
    return day


def _money(body: Row) -> Decimal:
    spend = decimal(body, "spend") or Decimal(0)
    return spend.quantize(_MICRO, ROUND_HALF_EVEN)


def _conversations(actions: Any) -> int:
    if not isinstance(actions, list):
        raise MetaShapeError("`actions` is not a list in Meta's answer")
    found = [a for a in actions if isinstance(a, dict)]
    return sum(
        integer(a, "value") or 0 for a in found if a.get("action_type") == CONVERSATION_STARTED
    )
