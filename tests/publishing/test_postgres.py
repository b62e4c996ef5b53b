"""Marts in PostgreSQL: a real server, readers during the swap, and one transaction for all."""

from __future__ import annotations

import threading
from datetime import date
from decimal import Decimal

import duckdb
import psycopg
import pytest
import sqlalchemy as sa

from ctwa.settings import Settings
from publishing.marts import PublishError, publish_marts
from publishing.meanings import meanings
from publishing.postgres import publish_to_postgres
from tests.publishing.test_marts import AS_OF, ROWS, build_warehouse


def _publish(settings: Settings, url: str, generation: int) -> dict[str, int]:
    build_warehouse(settings, generation)
    return publish_to_postgres(url, publish_marts(settings, as_of=AS_OF).path).rows


def _connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def test_rows_and_types_arrive_exactly(settings: Settings, postgres_url: str) -> None:
    settings.warehouse_path.parent.mkdir(parents=True)
    with duckdb.connect(str(settings.warehouse_path)) as warehouse:
        warehouse.execute("create schema marts")
        warehouse.execute(
            "create table marts.fct_leads as select '120226305854810727' as ad_id, "
            "cast(0.1 as decimal(18, 6)) as spend, date '2026-05-01' as spend_date, "
            "timestamptz '2026-05-01 23:30:00+00' as first_touch_at, true as is_won, "
            "cast(9223372036854775807 as bigint) as clicks, 'a\tb\\n\"' || chr(10) as name, "
            "cast(null as varchar) as nothing"
        )
    publish_to_postgres(postgres_url, publish_marts(settings, as_of=AS_OF).path)
    with _connect(postgres_url) as reader:
        row = reader.execute(
            "select ad_id, spend, spend_date, extract(epoch from first_touch_at), is_won, clicks, "
            "name, nothing from marts.fct_leads"
        ).fetchone()
        as_of = reader.execute("select as_of from marts.publication").fetchone()
        told = "select col_description('marts.fct_leads'::regclass, 1), "
        told += "obj_description('marts.fct_leads'::regclass)"
        comments = reader.execute(told).fetchone()
    assert row == (
        "120226305854810727",
        Decimal("0.100000"),
        date(2026, 5, 1),
        Decimal("1777678200.000000"),
        True,
        9223372036854775807,
        'a\tb\\n"\n',
        None,
    )
    assert as_of == (AS_OF,)
    meaning = meanings()["fct_leads"]
    assert comments == (meaning.columns["ad_id"], meaning.about)


def test_readers_see_one_publication_whole_during_the_swap(
    settings: Settings, postgres_url: str
) -> None:
    _publish(settings, postgres_url, 1)
    stop, seen, problems = threading.Event(), set(), []

    def read() -> None:
        with _connect(postgres_url) as reader:
            while not stop.is_set():
                row = reader.execute(
                    "select min(g), max(g), count(*) from (select generation as g from "
                    "marts.fct_leads union all select generation from marts.fct_touches) as both_"
                ).fetchone()
                assert row is not None
                seen.add(row[0])
                if row[0] != row[1] or row[2] != 2 * ROWS:
                    problems.append(row)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for generation in range(2, 6):
        _publish(settings, postgres_url, generation)
    stop.set()
    for reader in readers:
        reader.join()
    assert not problems
    assert len(seen) > 1


def test_views_and_grants_of_others_stay(settings: Settings, postgres_url: str) -> None:
    _publish(settings, postgres_url, 1)
    with _connect(postgres_url) as owner:
        owner.execute("create view board as select max(generation) as g from marts.fct_leads")
        _publish(settings, postgres_url, 2)
        assert owner.execute("select g from board").fetchone() == (2,)


def test_a_changed_column_makes_a_new_table_and_a_view_in_the_way_is_named(
    settings: Settings, postgres_url: str
) -> None:
    _publish(settings, postgres_url, 1)
    with duckdb.connect(str(settings.warehouse_path)) as warehouse:
        warehouse.execute("alter table marts.fct_leads add column country varchar")
    published = publish_marts(settings, as_of=AS_OF).path
    with _connect(postgres_url) as owner:
        owner.execute("create view board as select generation from marts.fct_leads")
        with pytest.raises(PublishError, match="other objects depend on it"):
            publish_to_postgres(postgres_url, published)
        # All or nothing: the other mart still is of the publication before.
        assert owner.execute("select count(*) from marts.fct_touches").fetchone() == (ROWS,)
        owner.execute("drop view board")
        publish_to_postgres(postgres_url, published)
        assert owner.execute("select count(country) from marts.fct_leads").fetchone() == (0,)


def test_a_reader_keeps_its_grant_on_a_table_made_anew_and_writes_nothing(
    settings: Settings, postgres_url: str
) -> None:
    """The roles of docs/bi.md: default privileges outlive a table, a grant on it does not."""
    role = f"reader_{sa.make_url(postgres_url).database}"
    with _connect(postgres_url) as owner:
        owner.execute(f"create role {role}")
        owner.execute("create schema marts")
        owner.execute(f"grant usage on schema marts to {role}")
        owner.execute(f"alter default privileges in schema marts grant select on tables to {role}")
    _publish(settings, postgres_url, 1)
    with duckdb.connect(str(settings.warehouse_path)) as warehouse:
        warehouse.execute("alter table marts.fct_leads add column country varchar")
    publish_to_postgres(postgres_url, publish_marts(settings, as_of=AS_OF).path)
    with _connect(postgres_url) as reader:
        reader.execute(f"set role {role}")
        assert reader.execute("select count(*) from marts.fct_leads").fetchone() == (ROWS,)
        for write in ("delete from marts.fct_leads", "create table marts.mine (a int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(write)


def test_a_database_that_is_away_is_named_without_the_password(settings: Settings) -> None:
    build_warehouse(settings, 1, rows=1)
    published = publish_marts(settings, as_of=AS_OF).path
    url = "postgresql+psycopg://bi:canary-4711@127.0.0.1:1/marts"
    with pytest.raises(PublishError, match=r"at 127\.0\.0\.1/marts failed") as error:
        publish_to_postgres(url, published)
    assert "canary" not in str(error.value)
