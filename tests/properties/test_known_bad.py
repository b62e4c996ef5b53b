"""The properties can fail: code with a well-known fault is caught by the history it harms."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingestion.identity import links
from tests.properties.examination import Examination, assert_same
from tests.properties.states import differing
from tests.properties.test_same_rows import (
    in_another_order,
    in_several_runs,
    with_strangers,
)

ARRIVAL_FOR_TIME = {
    "int_messages__deduplicated": (
        "from {{ source('event_log', 'messages') }}",
        "from (select * replace (to_timestamp(1767000000 + seq * 3600) as sent_at)"
        " from {{ source('event_log', 'messages') }})",
    )
}
NEW_BY_EVENT_TIME = {
    "int_messages__deduplicated": (
        "where seq > {{ own_highest('read_seq') }}",
        "where sent_at > (select max(sent_at) from {{ this }})",
    )
}
LAST_DIGITS_FOR_A_NUMBER = (
    "from {links}",
    "from (select * replace (right(right_key, 1) as right_key) from {links})",
)


def with_bad_code(
    examined: Examination, root: Path, code: dict[str, tuple[str, str]]
) -> Examination:
    """The same histories again; what they are compared with is built already."""
    bad = Examination(root, examined.histories, examined.seed, examined.rules, code)
    bad.whole = examined.whole
    bad.whole_but_deliveries = examined.whole_but_deliveries
    return bad


def test_known_bad_arrival_in_place_of_time_is_caught(
    examined: Examination, tmp_path: Path
) -> None:
    bad = with_bad_code(examined, tmp_path, ARRIVAL_FOR_TIME)
    assert differing(*in_another_order(bad), bad.cases.by_salt)


@pytest.mark.deep
def test_known_bad_watermark_of_event_time_is_caught(examined: Examination, tmp_path: Path) -> None:
    bad = with_bad_code(examined, tmp_path, NEW_BY_EVENT_TIME)
    assert differing(*in_several_runs(bad), bad.cases.by_salt)


@pytest.mark.deep
def test_known_bad_numbers_matched_by_their_end_are_caught(
    examined: Examination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LAST_DIGITS_FOR_A_NUMBER[0] in links._PAIRS
    monkeypatch.setattr(links, "_PAIRS", links._PAIRS.replace(*LAST_DIGITS_FOR_A_NUMBER))
    bad = with_bad_code(examined, tmp_path, {})
    whole, among = with_strangers(bad)
    assert among.mixed or differing(whole, among, bad.cases.by_salt)


@pytest.mark.deep
def test_failed_histories_are_made_small(examined: Examination, tmp_path: Path) -> None:
    bad = with_bad_code(examined, tmp_path, NEW_BY_EVENT_TIME)
    with pytest.raises(pytest.fail.Exception, match="made small") as caught:
        assert_same(bad, in_several_runs)
    assert str(caught.value).count("  run ") <= 6
