"""What the product makes of four companies, for comparing two checkouts row for row.

    python -m tests.frozen dump OUT [WORLD…]   every table of every world as Parquet
    python -m tests.frozen compare A B         names each table, row and column that differs

WORLD is e.g. `demo`, or `demo_full` or `demo_pieces`; A and B are dumps or folders of them.
Each world is played twice: in full (one build of everything) and in pieces (incremental nights,
with late and repeated deliveries). An older checkout is dumped by this same file:

    cd OLD && PYTHONPATH=$PWD .venv/bin/python -P …/tests/frozen.py dump OUT
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pydantic import SecretStr

from activation.conversions import send_conversions
from activation.webhook import post_leads
from comparison import restatements
from comparison.credit import compare as credit_difference
from ctwa.settings import Settings
from publishing.marts import publish_marts, published_before
from simulator.company import NUMBERS
from simulator.conversions_api import serve_conversions_api
from simulator.delivery import Delivery, deliveries
from simulator.world import build_world
from tests.support import worlds
from tests.support.crm_inbox import SECRET, inbox
from tests.support.worlds import WorldRun, playing

WORLDS: dict[str, tuple[dict[str, int], dict[str, Any]]] = {
    "demo": ({"seed": 7, "leads": 400, "count": 2}, {}),
    "nights": ({"seed": 31, "leads": 500, "count": 6}, {}),
    "brands": (
        {"seed": 47, "leads": 800, "count": 3},
        {
            "lead_scope": "brand",
            "lead_cycle_days": 30,
            "first_touch": "paid",
            "meta_conversion_click": "first_touch",
            "reporting_timezone": "America/New_York",
        },
    ),
    "shared": (
        {"seed": 59, "leads": 600, "count": 4},
        {"recycled_number_days": 20, "shared_identifier_degree": 3, "exchange_rates": "ecb"},
    ),
}
"""World -> arguments of `build_world`, settings: the defaults twice, then other rules."""
MODELS = (*worlds.MARTS, "+crm_outbox", "+crm_records")
OTHER_RULES = {"conversation_gap_days": 7, "recycled_number_days": 90}
"""The side that `credit_diff` compares each full build with."""
WHEN_IT_RAN = {
    "publication": ("version", "published_at"),
    "restatements": ("version",),
    "credit_diff": ("comparison_id",),
    "credit_diff_campaigns": ("comparison_id",),
}
"""Columns left out: the time of a publication or comparison, which no two runs share."""
DATASETS = {f"77000000000000{i}": {n.waba_id} for i, n in enumerate(NUMBERS) if i != 1}
SHOWN = 10


Said = dict[str, list[dict[str, Any]]]
"""Table -> rows that no mart holds: what was sent, and what a comparison found."""


def dump(out: Path, names: list[str]) -> None:
    """Play the worlds (all, or the named ones) and write their tables below `out`."""
    logging.disable(logging.WARNING)
    worlds.MARTS = MODELS  # what each night builds
    for name in WORLDS:
        arguments, settings = WORLDS[name]
        for play in (_full, _pieces):
            started, folder = time.monotonic(), out / f"{name}{play.__name__}"
            if names and not {name, folder.name} & {*names}:
                continue
            with _installation(arguments, settings) as run:
                if run.settings.exchange_rates == "ecb":
                    run.write("exchange_rates.ecb_rates", _rates(run.world.today))
                outputs(folder, run.settings, play(run))
            print(f"{folder}: {time.monotonic() - started:.0f} s", flush=True)


@contextlib.contextmanager
def _installation(arguments: dict[str, int], settings: dict[str, Any]) -> Iterator[WorldRun]:
    with (
        tempfile.TemporaryDirectory(prefix="frozen-") as root,
        playing(Path(root), build_world(**arguments), **settings) as run,
    ):
        yield run


def _full(run: WorldRun) -> Said:
    """Everything in one build; then the same lake under other rules, and what that moves."""
    run.whole(run.world.seed)
    send_conversions(run.settings, now=_morning(run.world.today))
    own = run.settings
    aside = own.data_dir.with_name("other-rules") / own.warehouse_path.name
    aside.parent.mkdir()
    run.settings = own.model_copy(update={"warehouse_path": aside, **OTHER_RULES})
    try:
        run.build_marts(full_refresh=True)
    finally:
        run.settings = own
    found = credit_difference(own.warehouse_path, aside)
    beside = {"credit_diff": found.leads, "credit_diff_campaigns": found.campaigns}
    publish_marts(own, as_of=run.world.today, beside=beside)
    return {"compared.days": found.days.to_pylist()}


def _pieces(run: WorldRun) -> Said:
    """Night by night: some bodies again, conversions and leads sent, days restated, published.

    Night 0, a week before, finds nothing: sending begins with what happens from then on.
    """
    before: list[Delivery] = []
    with serve_conversions_api(DATASETS) as meta, inbox() as crm:
        sending = _sending(run.settings, meta.url, meta.token, crm.url)
        for night in range(len(run.world.nights) + 1):
            day = run.world.day(night) if night else run.world.day(1) - timedelta(days=8)
            meta.clock = lambda day=day: _morning(day)().timestamp()
            bodies = _bodies(run, night) if night else []
            run.night(bodies + before[::9], max(night, 1), day)
            before = bodies
            send_conversions(sending, now=_morning(day))
            post_leads(sending, now=_morning(day), clock=lambda: 0.0)
            restatements.record(run.settings, published_before(run.settings, day), as_of=day)
            publish_marts(run.settings, as_of=day)
        assert meta.wrong == []
    return {"sent.conversions": meta.accepted, "sent.leads": crm.taken}


def _bodies(run: WorldRun, night: int) -> list[Delivery]:
    """What the night brings, and that some of the people withdraw their consent."""
    bodies = deliveries(run.world, night, night=night, largest=(1, 12, 40)[night % 3])
    day = run.world.day(night).isoformat()
    for outcome in run.world.outcomes[night::25]:
        who = {k: v for k, v in outcome.body.items() if k in ("phone", "user_id")}
        if len(who) == 1:
            said = {**who, "given": False, "declared_at": f"{day}T01:00:00Z", "source": "crm"}
            bodies.append(Delivery("/webhooks/consents", json.dumps(said).encode()))  # type: ignore[arg-type]
    return bodies


def _rates(today: date) -> Iterator[dict[str, Any]]:
    """Three months of the ECB's daily rates, which fall and rise."""
    for days in range(120):
        for currency, rate in (("USD", "1.08"), ("BRL", "6.1")):
            value = (Decimal(rate) * (100 + days % 7) / 100).quantize(Decimal("0.0001"))
            day = today - timedelta(days=days)
            yield {"rate_date": day, "currency": currency, "rate_per_eur": value}


def _sending(settings: Settings, meta_url: str, token: str, crm_url: str) -> Settings:
    datasets = {waba: name for name, (waba,) in DATASETS.items()}
    return settings.model_copy(
        update={
            "meta_graph_url": meta_url,
            "meta_conversions_token": SecretStr(token),
            "meta_conversions_mode": "live",
            "meta_dataset_ids": datasets,
            "crm_webhook_url": crm_url,
            "crm_webhook_secret": SecretStr(SECRET),
        }
    )


def _morning(day: date) -> Any:
    return lambda: datetime.combine(day, clock(8), UTC)


def outputs(folder: Path, settings: Settings, said: Said | None = None) -> None:
    """Marts as published, outboxes, the event log, restatements, and what was sent; sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    lake = Path(settings.lake_url)
    with duckdb.connect() as db:
        db.execute("set timezone = 'UTC'")
        db.execute(f"attach '{settings.marts_path}' as published (read_only)")
        db.execute(f"attach '{settings.warehouse_path}' as warehouse (read_only)")
        found = db.execute(
            "select table_schema, table_name from information_schema.tables where table_catalog "
            "= 'published' or (table_catalog = 'warehouse' and table_schema = 'activation')"
        ).fetchall()
        sources = {f"marts.{t}": f"published.{s}.{t}" for s, t in found if s != "activation"}
        sources |= {f"{s}.{t}": f"warehouse.{s}.{t}" for s, t in found if s == "activation"}
        for path in [*sorted((lake / "event_log").iterdir()), lake / "restatements"]:
            if any(path.glob("*.parquet")):
                schema = "event_log" if path.parent.name == "event_log" else "marts"
                files = f"read_parquet('{path}/*.parquet', union_by_name = true)"
                sources[f"{schema}.{path.name}"] = files
        for name, rows in (said or {}).items():
            texts = pa.array([json.dumps(row, sort_keys=True, default=str) for row in rows])
            db.register(name, pa.table({"said": texts.cast(pa.string())}))
            sources[name] = f'"{name}"'
        for name, source in sources.items():
            columns = db.execute(f"describe from {source}").fetchall()
            left_out = WHEN_IT_RAN.get(name.partition(".")[2], ())
            kept = ", ".join(f'"{c[0]}"' for c in columns if c[0] not in left_out)
            db.execute(
                f"copy (select {kept} from {source} order by all) "
                f"to '{folder / name}.parquet' (format parquet, compression zstd)"
            )


def compare(one: Path, other: Path) -> int:
    """How many tables differ between two dumps; each difference is printed."""
    names = sorted({str(p.relative_to(r)) for r in (one, other) for p in r.rglob("*.parquet")})
    differing = 0
    for name in names:
        if lines := differences(one / name, other / name):
            differing += 1
            print(f"{name}: {len(lines)} differences", *lines[:SHOWN], sep="\n")
    print(f"{differing} of {len(names)} tables differ")
    return differing


SENTENCES = {
    "marts.budget_shift": {"reason"},
    "marts.adset_board": {"reason"},
    "marts.campaign_board": {"reason"},
    "marts.creative_board": {"reason"},
    "marts.credit_diff": {"because", "why_a", "why_b"},
    "marts.fct_leads": {"why"},
    "marts.health_alarms": {"message"},
}
"""Table -> columns of text for people, which may be reworded without a change of any figure."""


def differences(one: Path, other: Path) -> list[str]:
    """Columns and rows that differ between two files of one table, as lines for people.

    `SENTENCES` are left out. Rows are paired by the fewest first columns that tell all differing
    rows of a side apart.
    """
    if not (one.exists() and other.exists()):
        return [f"  only in the {'first' if one.exists() else 'second'}"]
    with duckdb.connect() as db:
        db.execute("set timezone = 'UTC'")
        kinds = [
            {c: kind for c, kind, *_ in db.execute(f"describe from '{path}'").fetchall()}
            for path in (one, other)
        ]
        lines = [
            f"  column {c}: {kinds[0].get(c, 'missing')} / {kinds[1].get(c, 'missing')}"
            for c in [*kinds[0], *(kinds[1].keys() - kinds[0].keys())]
            if kinds[0].get(c) != kinds[1].get(c)
        ]
        columns = [c for c in kinds[0] if c in kinds[1] and c not in SENTENCES.get(one.stem, ())]
        # Meta signs an image's address anew at each read: what is behind the ? counts the reads.
        chosen = ", ".join(
            f"split_part({c}, '?', 1) as {c}" if c == "thumbnail_url" else f'"{c}"' for c in columns
        )
        left, right = (
            db.execute(
                f"select {chosen} from '{a}' except all select {chosen} from '{b}' order by all"
            ).fetchall()
            for a, b in ((one, other), (other, one))
        )
    width = next(
        (n for n in range(1, len(columns)) if _distinct(left, n) and _distinct(right, n)), 0
    )
    by_key = [{row[:width]: row for row in rows} if width else {} for rows in (left, right)]
    for side, rows, others in (("first", left, by_key[1]), ("second", right, by_key[0])):
        for row in rows:
            match = others.get(row[:width]) if width else None
            if match is None:
                lines.append(f"  only in the {side}: {dict(zip(columns, row, strict=True))}")
            elif side == "first":
                parts = zip(columns, row, match, strict=True)
                changed = "; ".join(f"{c}: {a!r} / {b!r}" for c, a, b in parts if a != b)
                lines.append(f"  {row[:width]}: {changed}")
    return lines


def _distinct(rows: list[tuple[Any, ...]], width: int) -> bool:
    return len({row[:width] for row in rows}) == len(rows)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["dump", out, *names]:
            dump(Path(out), names)
        case ["compare", one, other]:
            sys.exit(compare(Path(one), Path(other)) > 0)
        case _:
            sys.exit(__doc__)
