"""`ctwa init`: a folder for one installation, asked for step by step, each answer checked.

Everything that a company edits is in that folder: `.env`, `seeds/`, `models/`. An update of the
package changes none of it. Running `init` on the folder again keeps what is there and asks for the
rest.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.error import HTTPError

import duckdb
import typer

from commands.console import err, out, show_findings, working
from commands.home import InitError, make_folder, write_env, written
from commands.targets import goal, set_targets
from ctwa.environment import unknown_names
from ctwa.files import write_durably
from ctwa.settings import ENV_FILE, Settings, SettingsError, load_settings
from ingestion.source import Finding

_TESTER = "16315551181"
"""The sender of the App Dashboard's own test messages: such a lead is in no count (R14)."""
_NEWEST_TEST = "select lead_id from fct_leads where is_test order by first_touch_at desc, lead_id"
_TEST_NUMBER = {"display_phone_number": "16505551111", "phone_number_id": "123456123"}


@dataclass(frozen=True)
class Step:
    """Questions that belong together, by variable, and how the answers are tried."""

    title: str
    questions: Mapping[str, str]
    """Variable -> what to type."""
    where: str = ""
    """Where the values are found."""
    examine: Callable[[Settings], Iterator[Finding]] | None = None
    made: Sequence[str] = ()
    """Variables for which a random value is made where none is given."""
    hidden: frozenset[str] = field(default_factory=frozenset)
    """Secrets: not shown while they are typed."""


def _meta(settings: Settings) -> Iterator[Finding]:
    from ingestion.ads.meta.accounts import examine

    return examine(settings)


def _google(settings: Settings) -> Iterator[Finding]:
    from ingestion.ads.google.accounts import examine

    return examine(settings)


def _hubspot(settings: Settings) -> Iterator[Finding]:
    from ingestion.crm.hubspot.account import examine

    return examine(settings)


STEPS = (
    Step(
        "The company",
        {
            "CTWA_REPORTING_CURRENCY": "currency of the reports, such as BRL",
            "CTWA_REPORTING_TIMEZONE": "time zone, such as America/Sao_Paulo",
            "CTWA_DEFAULT_COUNTRY": "country of phone numbers typed without one, such as BR",
        },
    ),
    Step(
        "WhatsApp",
        {"META_APP_SECRET": "app secret of the Meta app that gets the webhooks"},
        where="App Dashboard, App settings, Basic (docs/connect/whatsapp.md)",
        made=("META_VERIFY_TOKEN", "CTWA_INTAKE_SECRET"),
        hidden=frozenset({"META_APP_SECRET"}),
    ),
    Step(
        "Meta ads",
        {
            "META_ACCESS_TOKEN": "token of a system user with ads_read",
            "META_AD_ACCOUNT_IDS": "ad account ids, comma-separated, without act_",
        },
        where="Business settings, System users (docs/connect/meta-ads.md)",
        examine=_meta,
        hidden=frozenset({"META_ACCESS_TOKEN"}),
    ),
    Step(
        "Google Ads",
        {
            "GOOGLE_ADS_CLIENT_ID": "OAuth client id",
            "GOOGLE_ADS_CLIENT_SECRET": "OAuth client secret",
            "GOOGLE_ADS_REFRESH_TOKEN": "refresh token",
            "GOOGLE_ADS_CUSTOMER_IDS": "customer ids, comma-separated",
        },
        where="docs/connect/google-ads.md",
        examine=_google,
        hidden=frozenset({"GOOGLE_ADS_CLIENT_SECRET", "GOOGLE_ADS_REFRESH_TOKEN"}),
    ),
    Step(
        "HubSpot",
        {"HUBSPOT_TOKEN": "token of a private app"},
        where="docs/connect/hubspot.md",
        examine=_hubspot,
        hidden=frozenset({"HUBSPOT_TOKEN"}),
    ),
)


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the installation.")] = Path(),
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="NAME=value, can be repeated: an answer. Secrets: by the environment."
        ),
    ] = None,
    goals: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            help="platform:account=cost,budget, can be repeated: what a qualified lead and a month "
            "of an ad account may cost.",
        ),
    ] = None,
    ask: Annotated[
        bool,
        typer.Option("--ask/--no-ask", help="Ask for what is not given. Default: on a terminal."),
    ] = True,
    first_lead: Annotated[
        bool,
        typer.Option(help="Post a signed test message, build the marts and explain its lead."),
    ] = True,
) -> None:
    """Make a folder for an installation: settings, the tables that you edit, and a first test.

    Each answer is checked against the real service, as `ctwa doctor` does; a later `ctwa init` on
    the same folder keeps what is there. Exit code 1 if a service refused its answer. Example:
    `META_APP_SECRET=… ctwa init acme --no-ask --set CTWA_REPORTING_CURRENCY=EUR`
    """
    place = folder.expanduser().absolute()
    given = _given(values or ())
    wanted = dict(map(goal, goals or ()))
    make_folder(place)
    with chdir(place):
        findings = _settle(place, given, ask=ask and err.is_terminal)
        show_findings(findings)
        set_targets(place, wanted, ask=ask and err.is_terminal)
        if first_lead:
            _first_lead(load_settings())
    out.print(_NEXT.format(place=place), markup=False)
    if any(finding.status == "wrong" for finding in findings):
        raise typer.Exit(1)


def _given(values: Sequence[str]) -> dict[str, str]:
    """Answers from `--set`, and those that the environment has."""
    asked = {name for step in STEPS for name in (*step.questions, *step.made)}
    given = {name: value for name in asked if (value := os.environ.get(name))}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals:
            raise InitError(f"--set {text}: write NAME=value")
        given[name.strip()] = value.strip()
    for name, nearest in unknown_names(given).items():
        meant = f"; did you mean {nearest}?" if nearest else "; .env.example lists them"
        raise InitError(f"--set {name}: there is no such setting{meant}")
    return given


# ---- questions -----------------------------------------------------------------------------------


def _settle(place: Path, given: Mapping[str, str], *, ask: bool) -> list[Finding]:
    """Take, write and check the answers of every step; what the services said of them.

    Raises `SettingsError` for a value that a setting cannot have, unless it can be asked for again.
    """
    known = written(place)
    own = {"CTWA_HOME": str(place), "CTWA_DATA_DIR": str(place / "data")}
    kept = {n: v for n in own if (v := known.get(n, "")) not in ("", "data")}
    _write_if_possible(place, {**own, **kept, **given})
    findings: list[Finding] = []
    for step in STEPS:
        made = {n: secrets.token_hex(24) for n in step.made if not written(place).get(n)}
        _write_if_possible(place, made)
        found: list[Finding] = []
        typed = _asked(step, written(place)) if ask else {}
        while ask or not found:
            try:
                _write_if_possible(place, typed)
                found = _examined(step, written(place))
            except SettingsError as error:
                if not ask:
                    raise
                err.print(str(error), style="red", markup=False)
            else:
                wrong = [finding for finding in found if finding.status == "wrong"]
                if not (ask and wrong):
                    break
                show_findings(wrong)
                if not typer.confirm("Type it again?", default=True, err=True):
                    break
            typed = _asked(step, written(place))
        findings += found
    return findings


def _write_if_possible(place: Path, answers: Mapping[str, str]) -> None:
    """Write answers that are settings; raises `SettingsError` and writes nothing if one is not."""
    path = place / ENV_FILE
    before = path.read_text(encoding="utf-8-sig") if path.exists() else None
    write_env(place, answers)
    try:
        load_settings()
    except SettingsError:
        if before is None:
            path.unlink()
        else:
            write_durably(path, before, mode=0o600)
        raise


def _asked(step: Step, known: Mapping[str, str]) -> dict[str, str]:
    """What was typed; nothing typed keeps what is known, or leaves the source off."""
    err.print(f"\n[bold]{step.title}[/bold]")
    if step.where:
        err.print(f"found in: {step.where}; Enter alone leaves it as it is", markup=False)
    typed = {}
    for name, what in step.questions.items():
        is_hidden = name in step.hidden
        shown = "" if is_hidden else known.get(name, "")
        text = typer.prompt(
            what, default=shown, show_default=bool(shown), hide_input=is_hidden, err=True
        )
        if text.strip() != shown:
            typed[name] = text.strip()
    return typed


def _examined(step: Step, known: Mapping[str, str]) -> list[Finding]:
    """What the service says of the answers; nothing if the source is off."""
    if step.examine is None or not any(known.get(name) for name in step.questions):
        return []
    with working(f"asking {step.title}", "ctwa.init"):
        return list(step.examine(load_settings()))


# ---- the first lead ------------------------------------------------------------------------------


def _first_lead(settings: Settings) -> None:
    """Post a test message as Meta would, build, and show its lead. Raises `InitError`."""
    if not settings.meta_app_secrets:
        out.print("no test message: META_APP_SECRET is not set")
        return
    from ingestion.webhook.server import running

    message_id = f"wamid.ctwa-init-{secrets.token_hex(8)}"
    with running(settings) as url:
        body = json.dumps(_test_message(message_id)).encode()
        good = hmac.new(settings.meta_app_secrets[0], body, hashlib.sha256).hexdigest()
        if (code := _post(url, body, "0" * 64)) != 401:
            raise InitError(f"the receiver answered {code} to a forged message: report this")
        if (code := _post(url, body, good)) != 200:
            raise InitError(f"the receiver answered {code} to the test message: run `ctwa doctor`")
    out.print("✓ a signed test message was stored, and one with a forged signature was refused")
    with working("building the marts for the first time", "ctwa.init"):
        from orchestration.refresh import refresh

        result = refresh(settings, sources=False)
    if not result.ok:
        raise InitError("the marts could not be built:\n" + "\n".join(result.failures))
    from commands.story import tell
    from commands.story_text import lines

    # Nobody's phone leads to a test: the platforms' own senders are no person's.
    with duckdb.connect(str(settings.marts_path), read_only=True) as marts:
        found = marts.execute(_NEWEST_TEST).fetchall()
    out.print("✓ the first lead, a test that is in no count:")
    for story in tell(settings, found[0][0])[0] if found else ():
        for line in lines(story):
            out.print(f"  {line}", markup=False)


def _test_message(message_id: str) -> dict[str, object]:
    message = {
        "from": _TESTER, "id": message_id, "timestamp": str(int(time.time())), "type": "text",
        "text": {"body": "test message of ctwa init"},
        "referral": {
            "source_type": "ad", "source_id": "120200000000000000", "headline": "Test of ctwa init",
            "source_url": "https://fb.me/test", "ctwa_clid": f"init-{message_id[-8:]}",
        },
    }  # fmt: skip
    value = {
        "messaging_product": "whatsapp", "metadata": _TEST_NUMBER,
        "contacts": [{"profile": {"name": "test user name"}, "wa_id": _TESTER}],
        "messages": [message],
    }  # fmt: skip
    changes = [{"field": "messages", "value": value}]
    return {"object": "whatsapp_business_account", "entry": [{"id": "0", "changes": changes}]}


def _post(url: str, body: bytes, signature: str) -> int:
    request = urllib.request.Request(  # noqa: S310 - our own receiver, on loopback
        f"{url}/webhooks/whatsapp",
        data=body,
        headers={"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return int(answer.status)
    except HTTPError as error:
        return error.code


_NEXT = """\
{place} is ready: .env has the settings, seeds/ the tables that you edit, vars.yml the limits of the
boards, models/ is for your own.
Next, in that folder:
  ctwa serve     receives messages; put a TLS proxy in front of it, and enter its address and the
                 META_VERIFY_TOKEN of .env in the App Dashboard
  ctwa refresh   reads ads, builds the marts and the report
  ctwa doctor    says what is still missing; README.md there says the rest"""
