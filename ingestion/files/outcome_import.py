"""CRM outcomes from a file into the vault: good rows are stored, bad ones named with the reason.

Reads what people export from Excel, Google Sheets and CRMs, or Parquet. Rows are stored like posted
outcomes: as envelopes of source `outcomes`, up to 1,000 in each. An outcome is identified by its
source and `event_id`; if a file has no ids, they are made of person, stage and time of each row, so
that importing the file again, or a longer one, repeats nothing. Of several copies the one with the
latest time counts; at the same time, the one imported last.
"""

from __future__ import annotations

import csv
import difflib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ctwa.project import seed_file
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.files.columns import plain
from ingestion.files.reader import Fields, Reader, ReadOptions
from ingestion.files.readings import CellError
from ingestion.files.tables import ERROR_CELL
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, Vault
from ingestion.webhook.fields import MAX_ELEMENTS, IntakeError, validate
from ingestion.webhook.shapes import OUTCOME_IDENTITIES, OutcomeIn

STAGES_SEED = PROJECT_DIR / "dbt_project" / "seeds" / "lead_stages.csv"

# Only for suggesting a likely stage; the seed defines what a stage means.
_MEANS = {
    "won": "ganho ganha ganhou ganado ganada vendido venda venta vendida fechado fechada cerrado "
    "cerrada comprou compro compra cliente pago pagado vencido sold paid",
    "lost": "perdido perdida perdeu",
    "qualified": "qualificado qualificada calificado calificada cualificado",
    "disqualified": "desqualificado desqualificada descalificado descartado invalido spam",
    "opportunity": "oportunidade oportunidad",
    "proposal": "proposta propuesta orcamento presupuesto cotacao cotizacion quote",
    "negotiation": "negociacao negociacion",
    "contacted": "contatado contactado contato",
    "new": "novo nova nuevo nueva",
}
_LIKELY = {word: stage for stage, words in _MEANS.items() for word in words.split()}


def unmapped(stages: Iterable[tuple[str, str]], seed: Path = STAGES_SEED) -> list[str]:
    """A line for each (source, stage) that the seed does not map, with the number of rows and the
    three nearest mapped stages. Case is ignored, as in the models."""
    try:
        with seed.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return []
    mapped = {(r["source"].lower(), r["stage"].strip().lower()) for r in rows}
    lines = []
    for (source, stage), number in sorted(Counter(stages).items()):
        name = stage.strip().lower()
        if (source.lower(), name) in mapped or ("*", name) in mapped:
            continue
        there = sorted({s for of, s in mapped if of in ("*", source.lower())})
        likely = [s for word in plain(name).split() if (s := _LIKELY.get(word)) in there]
        near = difflib.get_close_matches(plain(name), there, n=3, cutoff=0.0)
        nearest = ", ".join(list(dict.fromkeys([*map(str, likely), *near]))[:3])
        lines.append(
            f'stage "{stage}" ({number:,} rows) is not mapped and counts as nothing; nearest: '
            f"{nearest}. Map it with a row in dbt_project/seeds/lead_stages.csv: "
            f"{source},{_csv(stage)},{(likely or near)[0]},2000-01-01,"
        )
    return lines


def _csv(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""')) if set(text) & set(',"\n\r') else text


REQUIRED = ("stage", "occurred_at")
COLUMNS = ("event_id", *REQUIRED, *OUTCOME_IDENTITIES, "value", "currency", "source")
_IDS = ("event_id", "lead_id", "message_id", "user_id")
_SHOWN = 1_000


@dataclass(slots=True)
class ImportReport:
    """`rejected`: line in the file (for Parquet the row number, the first is 1) and the reason.
    `readings`: how the file and its columns were read; `warnings`: what is odd about good
    rows."""

    accepted: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)
    readings: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    is_dry: bool = False
    noun: str = "outcomes"

    def text(self) -> str:
        """What was done, or would be done, and how the file was read."""
        lines = [f"{what}: {found}" for what, found in self.readings]
        done = "would be taken" if self.is_dry else "taken"
        lines.append(f"{self.accepted:,} {self.noun} {done}, {len(self.rejected):,} rows refused")
        if self.is_dry:
            lines.append("dry run: nothing was stored")
        return "\n".join(lines)

    def problems(self, file: str) -> list[str]:
        """A line for each bad row, up to a limit."""
        shown = [f"{file}:{line}: {reason}" for line, reason in self.rejected[:_SHOWN]]
        more = len(self.rejected) - len(shown)
        return [*shown, *([f"{file}: and {more:,} more rows"] if more else [])]


def import_outcomes(
    settings: Settings,
    path: Path,
    *,
    options: ReadOptions | None = None,
    dry_run: bool = False,
    now: Callable[[], float] = time.time,
) -> ImportReport:
    """Check every row and store the good ones, or (`dry_run`) none.

    Raises `TableError` for another kind of file, and if a column can be read in several ways.
    After `VaultUnavailableError`, import the file again once the vault is back.
    """
    reader = Reader(
        path, COLUMNS, settings, options or ReadOptions(), who=OUTCOME_IDENTITIES,
        when="occurred_at", ids=_IDS,
    )  # fmt: skip
    reader.require(REQUIRED, OUTCOME_IDENTITIES)
    reader.survey()
    report = ImportReport(is_dry=dry_run)
    rows = _Rows(reader, settings, now())
    held: list[str] = []
    with nullcontext() if dry_run else closing(open_vault(settings.vault_url)) as vault:
        for line, row in reader.rows():
            try:
                held.append(rows.element(line, row))
            except (IntakeError, CellError) as error:
                report.rejected.append((line, reader.named(error)))
            if len(held) == MAX_ELEMENTS:
                _store(vault, held, now, report)
        if held:
            _store(vault, held, now, report)
    report.readings = [*reader.readings(), *rows.readings()]
    report.warnings = rows.warnings()
    return report


def _store(
    vault: Vault | None, held: list[str], now: Callable[[], float], report: ImportReport
) -> None:
    if vault is not None:
        body = f"[{','.join(held)}]".encode()
        vault.append([NewEnvelope(int(now() * 1_000_000), "outcomes", body)])
    report.accepted += len(held)
    held.clear()


class _Rows:
    """Turns rows into outcomes and collects what people should know about them."""

    def __init__(self, reader: Reader, settings: Settings, now: float) -> None:
        self._reader, self._country = reader, settings.default_country
        self._names = Pseudonymizer.from_settings(settings)
        self._now = datetime.fromtimestamp(now, UTC)
        self._recorded = self._now.isoformat()
        self._alike: Counter[str] = Counter()
        self._events: dict[bytes, tuple[int, bytes]] = {}
        self._seed = seed_file(settings, "lead_stages")
        self._stages: Counter[tuple[str, str]] = Counter()
        self._repeated: list[int] = []
        self._ahead: list[int] = []
        self._lost: Counter[str] = Counter()
        self._without_currency = 0

    def element(self, line: int, row: Fields) -> str:
        """The outcome as JSON text, checked. Money keeps its digits: no double is involved."""
        self._reader.check(row)
        value, currency = self._reader.money(row)
        given_names = [n for n in COLUMNS if n in row and n not in ("value", "currency")]
        outcome = {n: self._field(n, row[n]) for n in given_names if self._counts(n, row)}
        if currency is not None:
            outcome["currency"] = currency
        has_ids = "event_id" in self._reader.columns
        given: dict[str, object] = {**({} if has_ids else {"event_id": "derived"}), **outcome}
        if value is not None:
            given["value"] = value
        found = validate(OutcomeIn, given, default_country=self._country)
        if not has_ids:
            outcome = {"event_id": self._derived(found), **outcome}
        self._look_at(line, found, str(outcome["event_id"]))
        outcome["recorded_at"] = self._recorded
        text = json.dumps(outcome)
        # The checked value: `1e-999999999` as it came would be written out in a billion digits.
        return text if found.value is None else f'{text[:-1]}, "value": {found.value:f}}}'

    def _counts(self, name: str, row: Fields) -> bool:
        """Whether a cell counts: a failed lookup of an identity is ignored if there is another
        one."""
        if row[name] is not ERROR_CELL or name not in OUTCOME_IDENTITIES:
            return True
        self._lost[name] += 1
        return not any(n in row and row[n] is not ERROR_CELL for n in OUTCOME_IDENTITIES)

    def _field(self, name: str, cell: object) -> str:
        try:
            if name == "occurred_at":
                return self._reader.moment(cell)
            return self._reader.text(name, cell)
        except CellError as error:
            raise CellError(f"{name}: {error}") from None

    def _derived(self, found: OutcomeIn) -> str:
        """An id made of person, stage and time; rows that agree in these are numbered."""
        who = (
            (found.message_id, lambda v: v),
            (found.user_id, self._names.bsuid),
            (found.wa_id or found.phone, self._names.phone),
            (found.lead_id, self._names.web_lead),
            (found.email, lambda v: v.casefold()),
        )
        identity = next(str(key(value)) for value, key in who if value)
        at = found.occurred_at.astimezone(UTC).isoformat()
        text = "\n".join((found.source, found.stage.casefold(), at, identity))
        key = self._names.digest("imported_row", text)
        self._alike[key] += 1
        return f"row:{key}:{self._alike[key]}"

    def _look_at(self, line: int, found: OutcomeIn, event_id: str) -> None:
        self._stages[found.source, found.stage] += 1
        if found.occurred_at > self._now + timedelta(days=1):
            self._ahead.append(line)
        self._without_currency += found.value is not None and found.currency is None
        key = self._names.digest("imported_event", f"{found.source}\n{event_id}").encode()
        content = self._names.digest("imported_content", repr(found)).encode()
        first = self._events.setdefault(key, (line, content))
        if first[1] != content:
            self._repeated.append(line)

    def readings(self) -> list[tuple[str, str]]:
        """How ids were derived, for people."""
        if "event_id" in self._reader.columns:
            return []
        return [("event_id", "no column: made of who, stage and time, so nothing is repeated")]

    def warnings(self) -> list[str]:
        """What is odd about accepted rows."""
        found = unmapped(self._stages.elements(), self._seed)
        if self._without_currency:
            found.append(
                f"{self._without_currency:,} amounts have no currency: kept, but not converted; "
                "--currency BRL names it"
            )
        if self._ahead:
            lines = ", ".join(map(str, self._ahead[:5]))
            found.append(
                f"{len(self._ahead):,} rows are in the future (line {lines}): is the order of the "
                "dates wrong, or is it the date that a sale is expected? Use --dates or --map"
            )
        if self._repeated:
            lines = ", ".join(map(str, self._repeated[:5]))
            found.append(
                f"{len(self._repeated):,} rows have the event_id of an earlier row but other "
                f"content (line {lines}): one of them counts"
            )
        for name, number in sorted(self._lost.items()):
            found.append(f"{number:,} cells of {name} hold an error such as #N/A: ignored")
        return found
