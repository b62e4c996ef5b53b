"""The event log: vault through the parser into the lake.

Vault (`envelopes` after the watermark)  -> parser -> ``<lake>/event_log/<table>``, append only

The watermark is the highest `seq` that is complete in the lake. dlt's own cursor is not used: after
a kill or a restored backup it repeats or loses rows. Each load holds all tables of its envelopes
and counts as a whole or not at all, so a killed run is simply repeated.

`event_log_source` is for other people's pipelines: there dlt's state is the watermark.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctwa.lock import refresh_lock
from ctwa.pseudonym import Pseudonymizer, check_key_of_all_hosts, key_of
from ctwa.settings import Settings
from ingestion.event_log.adoption import (
    DATASET,
    check_nothing_is_purged,
    check_same_vault,
)
from ingestion.identity.erased import Ledger
from ingestion.identity.sieve import Sieve
from ingestion.identity.update import drop as drop_identity
from ingestion.lake.check import check
from ingestion.lake.commit import Commit
from ingestion.lake.lake import Damage, Lake, conform
from ingestion.lake.pipeline import Batch, typed_source
from ingestion.parser import Parser
from ingestion.parser.chat_rules import chat_rules_of
from ingestion.parser.helper import in_processes
from ingestion.parser.schema import EVENT_LOG
from ingestion.source import SourceError
from ingestion.vault import open_vault
from ingestion.vault.vault import Vault, VaultError

if TYPE_CHECKING:
    from dlt.extract import DltSource

log = logging.getLogger(__name__)

ONE_PROCESS = 50_000
"""Envelopes up to which starting further processes would take longer than it saves."""
HELPERS = 3
"""Further processes at most: one writes what all of them parse, which is half of the work."""
SHARED_ROWS = 5_000
"""Envelopes in one batch for several processes: small, so that none waits long for another."""
LOAD_ENVELOPES = 200_000
"""Envelopes in one load; limits memory and the disk space of dlt's working folder."""


class LandedError(SourceError):
    """Something is wrong, and everything that can be read has landed: `counts`."""

    def __init__(self, text: str, counts: EventLogCounts) -> None:
        self.counts = counts
        super().__init__(text)


class ChatRulesError(LandedError):
    """Some chat rules are wrong, and did not apply to what landed; the others did."""

    def __init__(self, counts: EventLogCounts, problems: Sequence[str]) -> None:
        super().__init__(
            f"{len(problems)} chat rule(s) did not apply: {'; '.join(problems)}. Correct the file, "
            "then run `ctwa refresh --reparse`",
            counts,
        )


class VaultDamageError(LandedError):
    """Part of the vault could not be read. Everything else has landed: `counts`."""

    def __init__(self, counts: EventLogCounts, known: str | None) -> None:
        parts = []
        if counts.damaged:
            parts.append(
                f"{counts.damaged} envelopes of the vault could not be read, or are not as they "
                f"were stored ({spans(counts.damaged_seqs)}); they are quarantined, all others "
                "have landed"
            )
        if known:
            parts.append(
                f"the vault is damaged and takes no webhooks: {known}. Check the disk, then run "
                "`ctwa mend-vault` (docs/operations.md)"
            )
        else:
            parts.append(
                "check the disk and the memory; `ctwa replay BACKUP/vault.db` brings back those "
                "that a backup still has"
            )
        super().__init__("; ".join(parts), counts)


@dataclass(slots=True)
class EventLogCounts:
    """What one landing added. `first_seq` and `last_seq` are 0 if there was nothing new.

    `damaged`: envelopes whose body could not be read, or is not the one that was stored.
    """

    envelopes: int = 0
    messages: int = 0
    statuses: int = 0
    outcomes: int = 0
    quarantined: int = 0
    first_seq: int = 0
    last_seq: int = 0
    lost: int = 0
    """Rows of damaged files that `reparse` removed and no stored body can restore."""
    damaged: int = 0
    damaged_seqs: list[int] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EVENT_LOG, 0))

    def add(self, parsed: Batch) -> None:
        """Count the rows of one parsed batch."""
        for name, table in parsed.items():
            self.tables[name] += table.num_rows
        seqs = parsed["envelopes"]["seq"]
        if len(seqs):
            self.first_seq = self.first_seq or seqs[0].as_py()
            self.last_seq = seqs[-1].as_py()
        self.envelopes = self.tables["envelopes"]
        self.messages, self.statuses = self.tables["messages"], self.tables["statuses"]
        self.outcomes, self.quarantined = self.tables["outcomes"], self.tables["quarantine"]


def event_log_source(settings: Settings) -> DltSource:
    """The dlt source `event_log`: what the parser makes of the vault, for any dlt pipeline.

    One resource for each table of `EVENT_LOG`. Rows are appended: each run reads the envelopes
    after the last one of the previous run, by dlt's state. Erased people are left out, and bodies
    that cannot be read or parsed become rows of `quarantine`. Neither lake nor vault is changed.
    Raises `VaultError` if the vault cannot be read at all.
    """

    import dlt

    def read() -> Iterator[Batch]:
        state = dlt.current.source_state()
        names = Pseudonymizer.from_settings(settings)
        sieve = Sieve(Ledger.of(settings), names)
        with closing(open_vault(settings.vault_url)) as vault:
            after, last = state.get("seq", 0), vault.last_seq()
            batches = vault.read_batches(after, up_to_seq=last)
            tables = map(_parser(settings, names).parse, batches)
            for parsed, _ in _without_erased(tables, sieve):
                yield parsed
            state["seq"] = last

    return typed_source(DATASET, EVENT_LOG, read)


def land_event_log(
    settings: Settings, *, reparse: bool = False, with_dlt: bool = True
) -> EventLogCounts:
    """Land what is new in the vault; with `reparse`, replace the rows of all bodies that are left.

    If nothing is new, no file is written. Bodies that the parser cannot read are quarantined, never
    raised. Erased people are left out; `keeping.erasure.steps.land`, which calls this, finishes
    erasures that were interrupted. `with_dlt`: as `Lake.from_settings`; for a few envelopes dlt
    takes a hundred times as long as all the rest. Raises `VaultMismatchError` if the vault is not
    the one the lake was filled from, and, after everything that can be read has landed,
    `VaultDamageError` if the vault is damaged and `ChatRulesError` if chat rules are wrong.
    """
    with refresh_lock(settings):
        lake = Lake.from_settings(settings, with_dlt=with_dlt)
        lake.ensure(DATASET, EVENT_LOG)
        lake.sweep(DATASET)
        ledger = Ledger.of(settings)
        with closing(open_vault(settings.vault_url)) as vault:
            counts = _land(settings, lake, vault, ledger, reparse)
            with suppress(VaultError):  # a full disk, for example: the rows have landed anyway
                vault.note_landed(lake.max_value(DATASET, "envelopes", "seq"))
            known = vault.damage()
            if counts.damaged or known:
                raise VaultDamageError(counts, known)
            if problems := chat_rules_of(settings).problems:
                raise ChatRulesError(counts, problems)
            return counts


def _land(
    settings: Settings, lake: Lake, vault: Vault, ledger: Ledger, reparse: bool
) -> EventLogCounts:
    watermark = lake.max_value(DATASET, "envelopes", "seq")
    last = vault.last_seq()
    counts = EventLogCounts()
    names = Pseudonymizer.from_settings(settings)
    check_key_of_all_hosts(settings)
    check_same_vault(lake, vault, names, watermark, ledger)
    if not reparse:
        check_nothing_is_purged(settings, vault, watermark)
    if last == watermark and not reparse:
        return counts
    after = 0 if reparse else watermark
    is_long = last - after > ONE_PROCESS and vault.count_after(after) > ONE_PROCESS
    helpers = min((os.cpu_count() or 1) - 1, HELPERS) if is_long else 0
    rows: dict[str, int] = {"batch_rows": SHARED_ROWS} if helpers else {}
    batches = vault.read_batches(after, up_to_seq=last, **rows)
    batches = _count_damaged(batches, watermark, counts)
    if helpers:
        tables = in_processes(
            batches,
            key_of(settings),
            settings.default_country,
            settings.site_id,
            chat_rules_of(settings),
            helpers=helpers,
        )
    else:
        tables = map(_parser(settings, names).parse, batches)
    read = _without_erased(tables, Sieve(ledger, names))
    parsed = _with_erased_saved(read, counts, ledger)
    if reparse:
        _replace(lake, parsed, counts)
    else:
        for part in _parts(parsed):
            lake.load(DATASET, part, EVENT_LOG)
    lake.compact(DATASET, EVENT_LOG)
    log.info(
        "event log: %d envelopes, %d messages, %d quarantined",
        counts.envelopes,
        counts.messages,
        counts.quarantined,
    )
    return counts


def _count_damaged(
    batches: Iterable[pa.RecordBatch], watermark: int, counts: EventLogCounts
) -> Iterator[pa.RecordBatch]:
    """Count damaged envelopes. If one had landed before, its rows in the lake stay as they are."""
    for batch in batches:
        is_damaged = pc.is_valid(batch.column("damage"))
        damaged = batch.filter(is_damaged).column("seq").to_pylist()
        counts.damaged += len(damaged)
        counts.damaged_seqs += damaged
        if damaged and damaged[0] <= watermark:
            is_new = pc.greater(batch.column("seq"), watermark)
            batch = batch.filter(pc.or_(pc.invert(is_damaged), is_new))
        yield batch


def spans(seqs: Iterable[int]) -> str:
    """Numbers as text, `3-7, 12`; at most ten of them."""
    spans: list[list[int]] = []
    for seq in seqs:
        if spans and seq == spans[-1][1] + 1:
            spans[-1][1] = seq
        else:
            spans.append([seq, seq])
    texts = [f"{a}-{b}" if a < b else f"{a}" for a, b in spans]
    more = f" and {len(texts) - 10} more" if len(texts) > 10 else ""
    return f"seq {', '.join(texts[:10])}{more}"


def _parser(settings: Settings, names: Pseudonymizer) -> Parser:
    rules = chat_rules_of(settings)
    return Parser(names, settings.default_country, settings.site_id, rules)


def _without_erased(read: Iterable[Batch], sieve: Sieve) -> Iterator[tuple[Batch, set[int]]]:
    """Rows without those of erased people, and the envelopes that had such rows."""
    for parsed in read:
        yield sieve.without_erased(parsed) if sieve else (parsed, set())


def _with_erased_saved(
    read: Iterable[tuple[Batch, set[int]]], counts: EventLogCounts, ledger: Ledger
) -> Iterator[Batch]:
    for parsed, with_erased in read:
        if with_erased:  # saved before the load counts: a kill must not leave these bodies
            ledger.bodies |= with_erased
            ledger.save()
        counts.add(parsed)
        yield parsed


def _parts(parsed: Iterator[Batch]) -> Iterator[Iterator[Batch]]:
    """Split into loads of about `LOAD_ENVELOPES`; consume each part before taking the next."""

    def part(first: Batch) -> Iterator[Batch]:
        size = first["envelopes"].num_rows
        yield first
        while size < LOAD_ENVELOPES and (batch := next(parsed, None)) is not None:
            size += batch["envelopes"].num_rows
            yield batch

    while (first := next(parsed, None)) is not None:
        yield part(first)


def _replace(lake: Lake, parsed: Iterable[Batch], counts: EventLogCounts) -> None:
    """Replace these envelopes' old rows by those in `parsed`, in one commit.

    Rows of envelopes whose bodies are purged stay as they are; files with only such rows are not
    touched. Damaged files are removed and a copy is set aside; rows that are not read again are
    counted as lost.
    """
    damages = check(lake, [DATASET])
    drop_identity(lake)
    with lake.commit(DATASET) as commit:
        fresh: dict[str, list[np.ndarray]] = {name: [] for name in EVENT_LOG}
        for tables in parsed:
            for name, rows in tables.items():
                fresh[name].append(rows["seq"].to_numpy())
                commit.write(name, rows)
        again = {name: np.concatenate(s) if s else np.array([]) for name, s in fresh.items()}
        seqs = again["envelopes"]
        for damage in damages:
            lake.set_aside(damage)
            commit.remove(damage.table, [damage.name])
            counts.lost += _lost(damage, again.get(damage.table, np.array([])))
        if len(seqs):
            _drop_old(lake, commit, seqs, {d.name for d in damages})
    if damages:
        log.warning(
            "event log: %d damaged file(s) set aside; %d rows of purged bodies are lost",
            len(damages), counts.lost,
        )  # fmt: skip


def _drop_old(lake: Lake, commit: Commit, seqs: np.ndarray, damaged: Collection[str]) -> None:
    for name, schema in EVENT_LOG.items():
        old = [
            file
            for file in lake.files(DATASET, name)
            if file not in damaged and lake.bounds(DATASET, name, file, "seq")[1] >= seqs[0]
        ]
        for rows in lake.read(DATASET, name, old):
            commit.write(name, conform(_without(rows, seqs), schema))
        commit.remove(name, old)


def _lost(damage: Damage, again: np.ndarray) -> int:
    """Rows of a damaged file that were not read again."""
    if damage.note is None or damage.note.seqs is None:
        return 0
    low, high = damage.note.seqs
    return max(0, damage.note.rows - int(((again >= low) & (again <= high)).sum()))


def _without(rows: pa.Table, seqs: np.ndarray) -> pa.Table:
    """Rows whose envelope is not among `seqs` (sorted)."""
    return rows.filter(pa.array(~np.isin(rows["seq"].to_numpy(), seqs)))
