"""`ctwa exclude` (E20): what is declared lands as it was meant, what cannot be is refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.event_log.source import land_event_log
from ingestion.files.declarations import ExclusionError, exclude
from ingestion.lake.lake import Lake
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


def landed(settings: Settings, table: str = "exclusions") -> list[dict[str, Any]]:
    """Rows of the lake after a landing, in order."""
    land_event_log(settings)
    lake = Lake.from_settings(settings)
    return lake.query("select * from {t} order by seq", t=f"event_log/{table}").to_pylist()


def receive(settings: Settings, value: Any) -> None:
    """A body of source `exclusions` straight into the vault."""
    vault = open_vault(settings.vault_url)
    try:
        vault.append([NewEnvelope(1, "exclusions", orjson.dumps(value))])
    finally:
        vault.close()


def test_e20_what_is_declared_lands_keyed_and_in_order(settings: Settings) -> None:
    names = Pseudonymizer.from_settings(settings)
    moments = iter(AT + timedelta(minutes=n) for n in range(5))
    target = {"phone": "(11) 98765-4321"}
    done = exclude(settings, **target, reason=" staff ", now=lambda: next(moments))
    exclude(settings, bsuid="BR.1A2B3C4D5E6F7G8H", reason="agency", now=lambda: next(moments))
    exclude(settings, email="Qa@Example.com", reason="test", now=lambda: next(moments))
    exclude(
        settings, business_number="+55 (11) 4000-0001", reason="test", now=lambda: next(moments)
    )
    back = exclude(settings, **target, undo=True, now=lambda: next(moments))

    assert "next refresh" in done.text()
    assert "staff" in done.text()
    assert back.text().startswith("Counted again from the next refresh on")
    columns = ("identity_key", "identity_kind", "business_number_id", "reason", "is_excluded")
    rows = landed(settings)
    assert [tuple(r[c] for c in columns) for r in rows] == [
        (names.phone("5511987654321"), "phone", None, "staff", True),
        (names.bsuid("BR.1A2B3C4D5E6F7G8H"), "bsuid", None, "agency", True),
        (names.email("qa@example.com"), "email", None, "test", True),
        (None, None, "551140000001", "test", True),
        (names.phone("5511987654321"), "phone", None, "taken back", False),
    ]
    assert [r["declared_at"] for r in rows] == [AT + timedelta(minutes=n) for n in range(5)]
    assert "98765" not in str(rows)


@pytest.mark.parametrize(
    "reason", ["agency 11 98765-4321", "agency (ana@example.com)", "+55 11 98765-4321 agency"]
)
def test_e20_nobodys_number_stands_in_a_reason(settings: Settings, reason: str) -> None:
    exclude(settings, phone="(11) 98765-4321", reason=reason)
    assert [r["reason"] for r in landed(settings)] == ["agency"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"reason": "staff"}, "exactly one of --phone"),
        ({"phone": "5511987654321", "email": "qa@b.c", "reason": "staff"}, "exactly one of"),
        ({"phone": "5511987654321"}, "--reason"),
        ({"phone": "12", "reason": "staff"}, "--phone: expects a phone number"),
        ({"bsuid": "1A2B", "reason": "staff"}, "--bsuid: expected a business-scoped"),
        ({"email": "nobody", "reason": "staff"}, "--email: expected"),
        ({"business_number": "no", "reason": "staff"}, "--business-number: expected"),
        ({"email": "qa@b.c", "reason": "x" * 81}, "--reason"),
        ({"email": "qa@b.co", "reason": "qa@b.co"}, "--reason: holds nothing but"),
    ],
)
def test_what_cannot_be_excluded_is_refused_at_once(
    settings: Settings, given: dict[str, str], said: str
) -> None:
    with pytest.raises(ExclusionError, match=said):
        exclude(settings, **given)  # type: ignore[arg-type]
    assert not landed(settings)


def test_bad_elements_are_quarantined_one_by_one(settings: Settings) -> None:
    good = {"email": "qa@b.c", "reason": "test", "declared_at": "2026-06-01T12:00:00-03:00"}
    receive(
        settings,
        [
            good,
            good | {"declared_at": "2026-06-01T12:00:00"},  # whose clock?
            good | {"phone": "5511987654321"},
            good | {"excluded": "no"},
            good | {"reason": "canary\x00"},
            "canary",
            good | {"email": "canary"},
        ],
    )
    receive(settings, {**good, "excluded": False})

    assert [r["is_excluded"] for r in landed(settings)] == [True, False]
    refused = landed(settings, "quarantine")
    assert [(q["element"], q["path"]) for q in refused] == [
        ("exclusion", f"[{place}]") for place in range(1, 7)
    ]
    assert "canary" not in str(refused)
    envelopes = landed(settings, "envelopes")
    assert [(e["source"], e["quarantined"]) for e in envelopes] == [
        ("exclusions", 6),
        ("exclusions", 0),
    ]


def test_the_command_says_what_it_did_and_when_it_shows(tmp_path: Path) -> None:
    def ctwa(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("ctwa"), "exclude", *arguments],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "CTWA_DATA_DIR": str(tmp_path / "data")},
            capture_output=True,
            text=True,
            check=False,
        )

    done = ctwa("--business-number", "551140000001", "--reason", "test")
    assert (done.returncode, done.stderr) == (0, "")
    assert "this business number (reason: test)" in done.stdout
    refused = ctwa("--phone", "12", "--reason", "staff")
    assert refused.returncode == 2
    assert refused.stderr.startswith("--phone: expects a phone number")
