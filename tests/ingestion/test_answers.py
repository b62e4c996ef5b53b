"""One reader of answers for the clients of all APIs, and the ends of their versions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from math import isnan
from pathlib import Path
from typing import Any

import pytest

from commands.doctor import installation
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.apis.answers import UnreadableError, is_damaged, read_json, write_json
from ingestion.apis.versions import (
    GOOGLE,
    META,
    VERSIONS,
    InUse,
    in_use,
    judge,
    newest,
)
from ingestion.watch import look_at_versions

NOVEMBER = date(2026, 11, 29)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":"Oferta \\ud83d"}', {"a": "Oferta \ufffd"}),
        (b'{"a":"\\udc4bOferta"}', {"a": "\ufffdOferta"}),
        (b'{"a":"\xed\xa0\xbd"}', {"a": "\ufffd\ufffd\ufffd"}),  # the same half as bytes
        (b'{"a":"caf\xe9"}', {"a": "caf\ufffd"}),
        (b'{"a":"x\\u0000y"}', {"a": "x\ufffdy"}),
        (b'{"\\ud83d":1}', {"\ufffd": 1}),
        (b'[["\\ud83d"],{"a":["\\ud83d"]}]', [["\ufffd"], {"a": ["\ufffd"]}]),
        (b'{"a":"x\ny"}', {"a": "x\ny"}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"id":123456789012345678901234567890}', {"id": 123456789012345678901234567890}),
        (b'{"id":"1","id":"2"}', {"id": "2"}),
        (b'{"a":1e999}', {"a": float("inf")}),
        (b'{"a":' + b"9" * 5000 + b"}", {"a": float("inf")}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    ],
)
def test_what_a_strict_reader_refuses_is_mended(body: bytes, value: Any) -> None:
    assert read_json(body) == value
    assert json.loads(write_json(read_json(body))) is not None


def test_numbers_that_are_none_are_no_amounts() -> None:
    assert isnan(read_json(b'{"a":NaN}')["a"])
    assert read_json(b'{"a":-Infinity}')["a"] == float("-inf")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"a":"b', "cut"),
        (b'{"a":tru', "cut"),
        (b'{"a":[1,2', "cut"),
        (b"<html>502</html>", "page"),
        (b"", "page"),
        (b'{"a" 1, "ccccccccccccccc": 3}', "broken"),
        (b"[" * 100_000, "broken"),
    ],
)
def test_what_is_no_json_says_whether_it_may_pass(body: bytes, kind: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        read_json(body)
    assert caught.value.kind == kind
    assert "ccc" not in str(caught.value)


def test_a_damaged_id_is_told_from_a_whole_one() -> None:
    assert is_damaged(read_json(b'"12\\ud83d"'))
    assert not is_damaged("120226305854810726")


# ---- ends of versions ------------------------------------------------------------------------


def _judged(api: str, version: str, today: date, setting: str = "X") -> tuple[str, str, str]:
    verdict = judge(InUse(api, version, setting), today)
    return verdict.status, verdict.found, verdict.fix


@pytest.mark.parametrize(
    ("api", "version", "today", "status", "says", "fix"),
    [
        (META, "v25.0", date(2026, 12, 24), "ok", "served until 2027-02-23", ""),
        (META, "v25.0", date(2026, 12, 25), "ends", "ends on 2027-02-23", "set X=v27.0"),
        (META, "v24.0", NOVEMBER, "ends", "ended on 2026-11-10", "set X=v27.0"),
        (META, "v27.0", NOVEMBER, "ok", "no end announced", ""),
        (META, "v28.0", NOVEMBER, "unknown", "knows versions up to v27.0", ""),
        (META, "v19.0", NOVEMBER, "ends", "older than v23.0", "set X=v27.0"),
        (GOOGLE, "v23", NOVEMBER, "ok", "served until February 2027", ""),
        (GOOGLE, "v23", date(2026, 12, 3), "ends", "ends in February 2027", "set X=v26"),
        (GOOGLE, "v26", date(2028, 1, 1), "ends", "ended in November 2027", "update ctwa"),
        ("HubSpot API", "v4", date(2027, 2, 1), "ends", "ends on 2027-03-30", "set X=2026-09"),
    ],
)
def test_e92_an_end_is_told_60_days_before(
    api: str, version: str, today: date, status: str, says: str, fix: str
) -> None:
    found = _judged(api, version, today)
    assert found[0] == status
    assert says in found[1]
    assert found[2].startswith(fix) if fix else not found[2]


def test_e92_every_end_has_its_source_and_every_default_is_in_the_table(
    make_settings: Callable[..., Settings],
) -> None:
    assert all(v.source.startswith("https://") and v.read_on for v in VERSIONS)
    assert len({(v.api, v.version) for v in VERSIONS}) == len(VERSIONS)
    settings = make_settings(
        meta_access_token="t",
        google_ads_client_id="i",
        google_ads_client_secret="s",
        google_ads_refresh_token="r",
        google_ads_customer_ids="1",
        hubspot_token="h",
        exchange_rates="ecb",
    )
    used = in_use(settings)
    assert [use.api for use in used] == [
        META, GOOGLE, "HubSpot API", "ECB Data Portal API",
    ]  # fmt: skip
    assert {judge(use, NOVEMBER).status for use in used} == {"ok"}
    assert newest(META, NOVEMBER) == settings.meta_api_version == "v27.0"
    assert in_use(make_settings()) == []


def test_e92_no_call_to_hubspot_names_another_version_than_the_one_told_of() -> None:
    """No setting changes it, so the code is asked."""
    path = re.compile(r"[\"'/](?:crm|account-info)/(?:\w+/)?(v\d+|20\d\d-\d\d)[/\"']")
    files = [p for folder in ("ingestion", "activation") for p in _python(PROJECT_DIR / folder)]
    called = {v for p in files for v in path.findall(p.read_text()) if p.name != "versions.py"}
    assert called == set()


def _python(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def test_e92_doctor_and_alarm_say_the_same(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(
        meta_access_token="t", meta_ad_account_ids="1", meta_api_version="v25.0",
        hubspot_token="h",
    )  # fmt: skip
    now = datetime(2026, 12, 31, 5, tzinfo=UTC)
    lines = {f.subject: (f.status, f.fix) for f in installation.ends(settings, now.date())}
    assert lines["Meta Marketing API v25.0"] == (
        "wrong",
        "set META_API_VERSION=v27.0 and run again",
    )
    assert lines["HubSpot API 2026-09"][0] == "ok"
    looks = {o.subject: o for o in look_at_versions(settings, now)}
    warned = looks["Meta Marketing API v25.0"]
    assert (warned.status, warned.measured, warned.expected_low) == ("warn", 54, 60)
    assert warned.mend == lines["Meta Marketing API v25.0"][1]
    assert looks["HubSpot API 2026-09"].status == "ok"
    unknown = make_settings(meta_access_token="t", meta_api_version="v99.0")
    assert [f.status for f in installation.ends(unknown, now.date())] == ["off"]
    assert [o.status for o in look_at_versions(unknown, now)] == ["off"]
    assert [o.status for o in look_at_versions(make_settings(), now)] == ["off"]
