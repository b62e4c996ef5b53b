"""`ctwa consent` (E72): what is declared lands as it was meant, what cannot be is refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.event_log.source import land_event_log
from ingestion.files.declarations import ConsentError, declare
from tests.support.erasure import rows

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_e72_what_is_declared_lands_keyed_and_in_order(settings: Settings) -> None:
    names = Pseudonymizer.from_settings(settings)
    moments = iter(AT + timedelta(minutes=n) for n in range(4))
    phone = "(11) 98765-4321"
    gone = declare(settings, given=False, phone=phone, now=lambda: next(moments))
    declare(settings, given=False, bsuid="BR.1A2B3C4D5E6F7G8H", now=lambda: next(moments))
    declare(settings, given=False, email="Ana@Example.com", now=lambda: next(moments))
    back = declare(settings, given=True, phone=phone, now=lambda: next(moments))
    land_event_log(settings)

    assert gone.text().startswith("Consent withdrawn by the person with this phone: from the next")
    assert back.text().startswith("Consent given by the person with this phone: from the next")
    columns = ("phone_key", "bsuid_key", "email_key", "is_given", "purpose", "source")
    said = rows(settings, "consents")
    same = ("marketing", "ctwa_consent")
    assert [tuple(r[c] for c in columns) for r in said] == [
        (names.phone("5511987654321"), None, None, False, *same),
        (None, names.bsuid("BR.1A2B3C4D5E6F7G8H"), None, False, *same),
        (None, None, names.email("ana@example.com"), False, *same),
        (names.phone("5511987654321"), None, None, True, *same),
    ]
    assert [r["declared_at"] for r in said] == [AT + timedelta(minutes=n) for n in range(4)]
    assert {r["source"] for r in rows(settings, "envelopes")} == {"consents"}
    assert rows(settings, "quarantine") == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"given": False}, "exactly one of --phone, --bsuid, --email"),
        ({"given": False, "phone": " "}, "exactly one of"),
        ({"given": False, "phone": "5511987654321", "email": "a@b.c"}, "exactly one of"),
        ({"given": None, "phone": "5511987654321"}, "say --withdrawn or --given"),
        ({"given": False, "phone": "12"}, "--phone: expects a phone number"),
        ({"given": False, "bsuid": "1A2B"}, "--bsuid: expects a WhatsApp user id"),
        ({"given": False, "email": "nobody"}, "--email: expects an e-mail address"),
        ({"given": False, "email": "teste@teste.com"}, "--email: needs another identity"),
    ],
)
def test_what_cannot_be_declared_is_refused_at_once(
    settings: Settings, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConsentError, match=said):
        declare(settings, **given)
    assert land_event_log(settings).envelopes == 0


def test_the_command_says_what_it_did_and_when_it_shows(tmp_path: Path) -> None:
    def ctwa(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("ctwa"), "consent", *arguments],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "CTWA_DATA_DIR": str(tmp_path / "data")},
            capture_output=True,
            text=True,
            check=False,
        )

    done = ctwa("--email", "ana@example.com", "--withdrawn")
    assert (done.returncode, done.stderr) == (0, "")
    assert "withdrawn by the person with this e-mail address" in done.stdout
    assert "ana@" not in done.stdout
    refused = ctwa("--phone", "12", "--given")
    assert refused.returncode == 2
    assert refused.stderr.startswith("--phone: expects a phone number")
    assert ctwa("--phone", "5511987654321").returncode == 2
