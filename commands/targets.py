"""Targets of ad accounts, as `ctwa init` asks for them: rows of the folder's `targets.csv`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from datetime import date
from decimal import Decimal
from pathlib import Path

import typer

from commands.console import err
from commands.home import InitError
from ctwa.files import write_durably
from ctwa.project import OWN_SEEDS
from ctwa.settings import load_settings

_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True)
class Target:
    """A row of `targets.csv`; amounts as plain numbers, '' for what is not given."""

    platform: str
    account_id: str
    campaign_id: str
    cost_per_qualified_lead: str
    monthly_budget: str
    currency: str
    valid_from: str


def targets(place: Path) -> Iterator[Target]:
    """Rows of the folder's `targets.csv`. Raises `InitError` if it has other columns."""
    path = _targets_file(place)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        names = [field.name for field in fields(Target)]
        if (rows.fieldnames or []) != names:
            raise InitError(f"{path}: its first line must be {','.join(names)}")
        for row in rows:
            yield Target(*((row[name] or "").strip() for name in names))


def add_target(place: Path, target: Target) -> None:
    """Add a row to `targets.csv`, in place of one for the same account, campaign and day."""

    def key(row: Target) -> tuple[str, ...]:
        return (row.platform, row.account_id, row.campaign_id, row.valid_from)

    rows = [row for row in targets(place) if key(row) != key(target)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Target))
    writer.writerows(map(astuple, [*rows, target]))
    write_durably(_targets_file(place), text.getvalue())


def changed_target(
    known: Target | None, platform: str, account: str, *, cost: str, budget: str, currency: str
) -> Target | None:
    """The row to add so that these amounts hold; None if they do already.

    The first one of an account has always held, a later one holds from today on. Raises `InitError`
    for an amount that is not a plain number above 0.
    """
    for amount in (cost, budget):
        if amount and not (_AMOUNT.fullmatch(amount) and Decimal(amount) > 0):
            raise InitError(f"{amount}: an amount is a plain number above 0, such as 85.50")
    if known is None and not (cost or budget):
        return None
    if known and (known.cost_per_qualified_lead, known.monthly_budget) == (cost, budget):
        return None
    since = date.today().isoformat() if known else ""  # noqa: DTZ011 - the day of whoever types
    return Target(platform, account, "", cost, budget, currency, since)


def goal(text: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Platform and account, cost and budget of a `--target`."""
    account, equals, amounts = text.partition("=")
    platform, colon, account_id = account.partition(":")
    cost, _, budget = amounts.partition(",")
    if not (equals and colon and platform in ("meta", "google")):
        raise InitError(f"--target {text}: write meta:ACCOUNT=COST,BUDGET or google:…, such as "
                        "meta:1234567890=85,20000; either amount may be empty")  # fmt: skip
    account_id = account_id.strip().removeprefix("act_").replace("-", "")
    return (platform, account_id), (cost.strip(), budget.strip())


def set_targets(
    place: Path, wanted: Mapping[tuple[str, str], tuple[str, str]], *, ask: bool
) -> None:
    """Write what a qualified lead and a month of each connected ad account may cost.

    `wanted`: platform and account id -> cost and budget. Raises `InitError` for an account that is
    not connected, and for an amount that is none unless it can be asked for again.
    """
    settings = load_settings()
    connected = [("meta", account) for account in settings.meta_ad_account_ids]
    connected += [("google", account) for account in settings.google_ads_customer_ids]
    for platform, account in wanted.keys() - set(connected):
        raise InitError(f"--target {platform}:{account}: no such ad account is connected here")
    rows = sorted(targets(place), key=lambda row: row.valid_from)
    known = {(row.platform, row.account_id): row for row in rows if not row.campaign_id}
    if connected and ask:
        err.print("\n[bold]Targets[/bold]")
        err.print("as plain numbers; Enter alone leaves it as it is", markup=False)
    for key in connected:
        before = known.get(key)
        currency = (before.currency if before else "") or settings.reporting_currency
        amounts = (before.cost_per_qualified_lead, before.monthly_budget) if before else ("", "")
        amounts = wanted.get(key, amounts)
        while True:
            if ask:
                amounts = _amounts(" ".join(key), *amounts, currency)
            cost, budget = amounts
            try:
                row = changed_target(before, *key, cost=cost, budget=budget, currency=currency)
            except InitError as error:
                if not ask:
                    raise
                err.print(str(error), style="red", markup=False)
            else:
                break
        if row is not None:
            add_target(place, row)


def _amounts(account: str, cost: str, budget: str, currency: str) -> tuple[str, str]:
    """What was typed for an account's two amounts."""
    questions = (("a qualified lead", cost), ("a month", budget))
    cost, budget = (
        typer.prompt(
            f"{account}: what {what} may cost, in {currency}",
            default=shown, show_default=bool(shown), err=True,
        ).strip()
        for what, shown in questions
    )  # fmt: skip
    return cost, budget


def _targets_file(place: Path) -> Path:
    return place / OWN_SEEDS / "targets.csv"
