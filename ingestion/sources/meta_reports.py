"""Reads insights of one ad account: synchronously, by report runs, in halves where it must be.

| asked | when |
|---|---|
| `GET act_<id>/insights` | at first |
| `POST act_<id>/insights`, `GET <run>`, `GET <run>/insights` | much to read, or Meta says so |
| the same for half of the days | a run is too large or fails again and again, down to one day |

A day is given only when its ad rows and its account total were both read to the end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from ingestion.errors import SourceError
from ingestion.graph import GraphClient
from ingestion.graph_errors import (
    GraphError,
    GraphNotFoundError,
    GraphNotReadyError,
    GraphRetentionError,
    GraphRunFailedError,
    GraphThrottledError,
    GraphTooMuchDataError,
    GraphUnavailableError,
    Problem,
    classify,
)
from ingestion.sources.meta_account import AdAccount, Row, integer
from ingestion.sources.meta_days import (
    ACCOUNT_FIELDS,
    AD_FIELDS,
    DayRead,
    check_fields,
    compact,
    split_days,
)
from ingestion.sources.meta_objects import AD_STATUSES

log = logging.getLogger(__name__)

Range = tuple[date, date]

MAX_RUNS_AT_ONCE = 4
RUN_TRIES = 3
PAGE_ROWS = 500
RUN_PATIENCE = 1800.0  # seconds until a report run counts as stalled


class InsightsReader:
    """Reads days of one account. `many_days`: use report runs from the start."""

    def __init__(self, client: GraphClient, account: AdAccount, *, many_days: bool = False) -> None:
        self._client, self._account = client, account
        self._edge = f"act_{account.account_id}/insights"
        self._by_runs = many_days

    def read_pieces(self, pieces: list[Range]) -> Iterator[tuple[Range, list[DayRead]]]:
        """Each piece with its days, in the order given; report runs are started ahead."""
        ahead: dict[Range, str] = {}
        for number, piece in enumerate(pieces):
            self._client.renew_patience()
            if self._by_runs:
                for later in pieces[number : number + MAX_RUNS_AT_ONCE]:
                    if later not in ahead:
                        ahead[later] = self._start(later)
            yield piece, self._days(piece, ahead.pop(piece, None))

    def _days(self, piece: Range, run: str | None = None) -> list[DayRead]:
        try:
            ads = self._ad_rows(piece, run)
            totals = self._pages(self._edge, self._params("account", ACCOUNT_FIELDS, piece))
        except GraphRetentionError:
            return self._kept_days(piece)
        check_fields(self._account.account_id, ads, totals)
        return split_days(self._account, piece, ads, totals)

    def _kept_days(self, piece: Range) -> list[DayRead]:
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
            raise GraphRunFailedError(Problem(f"POST /{self._edge}", message="no report_run_id"))
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
        raise GraphRunFailedError(Problem(f"GET /{run}", message="the run does not come to an end"))

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
            # are read by their own id, as far as Meta still tells of them (`meta_deleted`).
            params["filtering"] = [
                {"field": "ad.effective_status", "operator": "IN", "value": list(AD_STATUSES)}
            ]
        return params


def _failed(run: str, state: Row) -> GraphError:
    """The error of a failed run: since v25 it carries a code, which says what to do."""
    problem = Problem(
        f"GET /{run}",
        code=_int(state.get("error_code")),
        subcode=_int(state.get("error_subcode")),
        message=str(state.get("async_status")),
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
