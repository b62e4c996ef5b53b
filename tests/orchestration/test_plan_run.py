"""A plan of a few statements: what is kept, what is undone, what is asked again at each run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from ctwa import fingerprint
from ctwa.settings import Settings
from orchestration import plan_compile
from orchestration.plan import Check, Node, Plan, PlanError, load_plan, plan_key, save_plan
from orchestration.plan_compile import compile_plan
from orchestration.plan_run import Run, run_plan
from orchestration.plan_stamps import stamps_path

VALUES = {"as_of": "2026-06-30", "lake": "/nowhere", "activation": "/nowhere"}


def node(name: str, *statements: str, after: str = "", **more: object) -> Node:
    return Node(
        unique_id=f"model.ctwa.{name}",
        path=f"dbt_project/models/{name}.sql",
        schema="marts",
        table=name,
        materialized=str(more.pop("materialized", "table")),
        depends_on=(f"model.ctwa.{after}",) if after else (),
        full=statements,
        **more,  # type: ignore[arg-type]
    )


def table(name: str, query: str, after: str = "") -> Node:
    return node(
        name, f'create or replace table "@{{database}}".marts.{name} as ({query})', after=after
    )


def check(name: str, sql: str, *looks_at: str, severity: str = "error", **more: object) -> Check:
    ids = tuple(f"model.ctwa.{n}" for n in looks_at)
    return Check(f"test.ctwa.{name}.1", ids, sql, severity, **more)  # type: ignore[arg-type]


LEADS = table("leads", "select 1 as lead_id, cast('@{as_of}' as date) as day")
TOUCHES = table("touches", "select 2 as touch_id")
REPORT = table("report", "select count(*) as leads from marts.leads", after="leads")
GOOD = Plan("key", (LEADS, TOUCHES, REPORT), (), {"TimeZone": "UTC"})


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "some.duckdb"


def rows(warehouse: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        return connection.execute(query).fetchall()


def said(run: Run) -> dict[str, tuple[str, str]]:
    return {r.unique_id.split(".")[2]: (r.status, r.message) for r in run.results}


def test_models_are_built_with_the_values_of_the_run(warehouse: Path) -> None:
    assert run_plan(GOOD, warehouse, VALUES).failures == []
    assert rows(warehouse, "select day::varchar from marts.leads") == [("2026-06-30",)]
    run = run_plan(GOOD, warehouse, VALUES | {"as_of": "2026-07-01"})
    said_in_short = "2 models and seeds built, 0 tests asked, 1 of both current in "
    assert run.summary().startswith(said_in_short)
    assert rows(warehouse, "select day::varchar from marts.leads") == [("2026-07-01",)]


def test_a_failed_check_undoes_everything_and_what_does_not_rest_on_it_is_still_judged(
    warehouse: Path,
) -> None:
    run_plan(GOOD, warehouse, VALUES)
    bad = replace(
        GOOD,
        checks=(
            check("leads_are_few", "select * from marts.leads", "leads"),
            check("leads_are_sound", "select 'leads: x is null, rows: 1' as faults", "leads",
                  says_faults=True),
            check("report_is_right", "select 1", "report"),
            check("touches_are_few", "select * from marts.touches", "touches"),
        ),
    )  # fmt: skip

    run = run_plan(bad, warehouse, VALUES | {"as_of": "2026-07-01"})

    assert said(run) == {
        "leads": ("success", ""),
        "leads_are_few": ("fail", "Got 1 result, configured to fail if != 0"),
        "leads_are_sound": ("error", "leads: x is null, rows: 1"),
        "touches": ("success", ""),
        "touches_are_few": ("fail", "Got 1 result, configured to fail if != 0"),
        "report": ("skipped", ""),
        "report_is_right": ("skipped", ""),
    }
    assert rows(warehouse, "select day::varchar from marts.leads") == [("2026-06-30",)]


def test_a_check_that_warns_undoes_nothing_and_shows_its_rows(warehouse: Path) -> None:
    warning = check(
        "stages_are_mapped", "select 'a|b' as stage", "leads", severity="warn",
        view=("checks", "stages_are_mapped"),
    )  # fmt: skip
    run = run_plan(replace(GOOD, checks=(warning,)), warehouse, VALUES)

    (result,) = [r for r in run.results if r.status == "warn"]
    assert run.failures == []
    assert (result.failures, result.rows) == (1, [{"stage": "a|b"}])
    assert rows(warehouse, "select * from checks.stages_are_mapped") == [("a|b",)]


def test_a_statement_that_raises_is_named_and_nothing_is_changed(warehouse: Path) -> None:
    run_plan(GOOD, warehouse, VALUES)
    broken = node(
        "leads",
        'create or replace table "@{database}".marts.leads (channel varchar not null);'
        ' insert into "@{database}".marts.leads (select null)',
    )
    run = run_plan(replace(GOOD, nodes=(TOUCHES, broken, REPORT)), warehouse, VALUES)

    assert [r.unique_id for r in run.failures] == ["model.ctwa.leads"]
    assert "NOT NULL constraint failed: leads.channel" in run.failures[0].message
    assert said(run)["report"] == ("skipped", "")
    assert rows(warehouse, "select count(*) from marts.leads") == [(1,)]


def counted(warehouse: Path, upstream: int) -> Plan:
    """A model that goes on from the rows that it has."""
    new = f"select unnest(range({upstream})) as seq"
    relation = '"@{database}".marts.messages'
    messages = node(
        "messages",
        f"create or replace table {relation} as ({new})",
        materialized="incremental",
        continued=(
            f"create or replace temporary table messages__dbt_tmp as"
            f" (from ({new}) where seq > @{{highest_0}})",
            f"insert into {relation} (select seq from messages__dbt_tmp)",
        ),
        highest=(f"select coalesce(max(seq), -1) from {relation}",),
    )
    return Plan("key", (messages,), ())


def test_how_far_a_model_came_is_asked_at_each_run(warehouse: Path) -> None:
    for upstream in (3, 3, 5):
        assert run_plan(counted(warehouse, upstream), warehouse, VALUES).failures == []
    found = rows(warehouse, "select seq from marts.messages order by seq")
    assert found == [(n,) for n in range(5)]

    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("alter table marts.messages add column more int")
    run = run_plan(counted(warehouse, 6), warehouse, VALUES)
    assert "(more): run `ctwa refresh --full`" in run.failures[0].message


def done(run: Run) -> set[str]:
    """Names of what was made or asked."""
    assert run.failures == []
    return {r.unique_id.split(".")[2] for r in run.results if not r.is_current}


def test_what_reads_nothing_new_is_not_made_again(warehouse: Path) -> None:
    plan = replace(
        GOOD,
        checks=(
            check("leads_are_one", "select * from marts.leads offset 1", "leads"),
            check("report_is_right", "select 1 where '@{as_of}' is null", "report"),
            check("touches_are_known", "select * from marts.touches", "touches", severity="warn"),
        ),
    )
    parts = {"leads", "touches", "report", "leads_are_one", "report_is_right", "touches_are_known"}

    assert done(run_plan(plan, warehouse, VALUES)) == parts
    again = run_plan(plan, warehouse, VALUES)
    assert done(again) == {"touches_are_known"}, "what warns goes on warning"
    assert [(r.status, r.failures) for r in again.results if "one" in r.unique_id] == [("pass", 0)]

    # Another day makes other leads, but the report has the same row, and keeps what rests on it.
    day = VALUES | {"as_of": "2026-07-01"}
    assert done(run_plan(plan, warehouse, day)) == parts - {"touches"}
    assert rows(warehouse, "select day::varchar from marts.leads") == [("2026-07-01",)]
    below = replace(plan, nodes=(*plan.nodes, table("page", "from marts.report", "report")))
    assert done(run_plan(below, warehouse, day)) == {"page", "touches_are_known"}
    assert "page" not in done(run_plan(below, warehouse, VALUES))
    assert done(run_plan(below, warehouse, VALUES, full=True)) == {*parts, "page"}


def test_known_bad_version_that_does_not_move_is_caught(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(GOOD, nodes=(LEADS, table("days", "select day from marts.leads", "leads")))
    tomorrow = VALUES | {"as_of": "2026-07-01"}
    found = []
    for bad in (False, True):
        if bad:
            monkeypatch.setattr(fingerprint, "of_table", lambda *_: "the same")
        for values in (VALUES, tomorrow):
            run_plan(plan, warehouse, values, full=values is VALUES)
        found += rows(warehouse, "select day::varchar from marts.days")
    assert found == [("2026-07-01",), ("2026-06-30",)]


def test_a_file_that_changed_is_read_again_and_what_it_did_not_change_stays(
    warehouse: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    values = VALUES | {"lake": str(lake)}
    files = "from read_parquet('@{lake}/*.parquet', union_by_name = true)"
    staged = node(
        "staged", f'create or replace view "@{{database}}".marts.staged as ({files})',
        materialized="view",
    )  # fmt: skip
    relation = '"@{database}"."marts"."'
    plan = replace(
        GOOD,
        nodes=(
            staged,
            table("highest", f'select max(n) as n from {relation}staged"'),
            table("page", f'from {relation}highest"'),
        ),
    )
    found = []
    for number, rows_of_file in enumerate(["select 7 as n", "select 5 as n", "select 9 as n"]):
        duckdb.sql(rows_of_file).write_parquet(str(lake / f"{number}.parquet"))
        found.append(done(run_plan(plan, warehouse, values)))
        assert done(run_plan(plan, warehouse, values)) == set()
    assert found == [
        {"staged", "highest", "page"},
        {"staged", "highest"},
        {"staged", "highest", "page"},
    ]
    assert rows(warehouse, "from marts.page") == [(9,)]
    elsewhere = replace(
        plan, nodes=(table("far", "select '@{lake}' as far where false"), *plan.nodes)
    )
    assert done(run_plan(elsewhere, warehouse, values)) == {"far"}


def test_after_a_change_by_somebody_else_everything_is_made_again(warehouse: Path) -> None:
    run_plan(GOOD, warehouse, VALUES)
    with duckdb.connect(str(warehouse)):
        pass  # looking changes nothing
    assert done(run_plan(GOOD, warehouse, VALUES)) == set()
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("update marts.report set leads = 8")
    assert done(run_plan(GOOD, warehouse, VALUES)) == {"leads", "touches", "report"}
    assert rows(warehouse, "from marts.report") == [(1,)]
    with duckdb.connect(str(warehouse)) as connection:  # also if it was killed before it was done
        connection.execute("update marts.report set leads = 8")
        wal = warehouse.with_name(f"{warehouse.name}.wal")
        (kept := warehouse.with_name("kept")).write_bytes(wal.read_bytes())
        whole = warehouse.read_bytes()
    warehouse.write_bytes(whole)
    wal.write_bytes(kept.read_bytes())
    assert done(run_plan(GOOD, warehouse, VALUES)) == {"leads", "touches", "report"}
    stamps_path(warehouse).write_text("{}")
    assert done(run_plan(GOOD, warehouse, VALUES)) == {"leads", "touches", "report"}


def test_below_a_step_that_wrote_no_row_nothing_is_made(warehouse: Path) -> None:
    def plan(upstream: int) -> Plan:
        steps = counted(warehouse, upstream)
        return replace(
            steps, nodes=(*steps.nodes, table("page", "from marts.messages", "messages"))
        )

    for upstream, made in ((3, 2), (3, 0), (5, 2), (4, 1), (6, 2)):
        assert len(done(run_plan(plan(upstream), warehouse, VALUES))) == made, upstream
    assert rows(warehouse, "select count(*) from marts.page") == [(6,)]


def test_a_part_is_built_and_a_view_gives_way_to_a_table(warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("create schema marts; create view marts.leads as select 7 as lead_id")
    run = run_plan(GOOD, warehouse, VALUES, selected={"model.ctwa.leads"})
    assert said(run) == {"leads": ("success", "")}
    assert rows(warehouse, "select lead_id from marts.leads") == [(1,)]


def test_a_plan_is_read_as_it_was_written_and_only_for_its_own_key(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan = replace(counted(path, 3), checks=(check("a", "select 1", "messages"),))
    save_plan(plan, path)
    assert load_plan(path, "key") == plan
    assert load_plan(path, "of other code") is None
    path.write_text(path.read_text()[:100])
    assert load_plan(path, "key") is None


def test_code_settings_and_variables_that_the_project_reads_make_another_key(
    make_settings: Callable[..., Settings],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    settings, project = make_settings(), shutil.copytree(project, tmp_path / "project")
    keys = [plan_key(settings, project), plan_key(make_settings(conversation_gap_days=7), project)]
    monkeypatch.setenv("CTWA_TEST_VERSION", "3")
    keys.append(plan_key(settings, project))
    model = project / "dbt_project/models/marts/fct_touches.sql"
    model.write_text(model.read_text() + "-- changed\n")
    keys.append(plan_key(settings, project))
    assert len(set(keys)) == len(keys)
    assert plan_key(settings.model_copy(update={"lake_url": "/x"}), project) == keys[3]


@pytest.mark.parametrize(
    ("executed", "problem"),
    [
        ("create unique index i on marts.leads (lead_id)", "does not know what this is for"),
        ('create table "warehouse"."marts"."leads" as (select \'@{x}\' as x)', "for a mark"),
    ],
)
def test_what_the_plan_cannot_repeat_is_no_plan(
    settings: Settings, executed: str, problem: str
) -> None:
    found = {
        "nodes": [
            {"unique_id": "model.ctwa.leads", "path": "leads.sql", "schema": "marts",
             "table": "leads", "materialized": "table", "depends_on": []},
        ],
        "checks": [],
        "full": {"model.ctwa.leads": [executed]},
        "continued": {},
    }  # fmt: skip
    with pytest.raises(PlanError, match=problem):
        compile_plan(settings, "key", capture=lambda _: found)


def test_a_plan_of_models_that_changed_meanwhile_is_not_kept(
    make_settings: Callable[..., Settings], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(conversation_gap_days=7)

    def slowly(*_: object) -> Plan:
        monkeypatch.setenv("CTWA_TEST_VERSION", "3")
        return GOOD

    monkeypatch.setattr(plan_compile, "compile_plan", slowly)
    with pytest.raises(PlanError, match="changed while they were compiled"):
        plan_compile.plan_of(settings, project)
    assert load_plan(plan_compile.plan_path(settings), GOOD.key) is None


def test_what_dbt_says_of_a_project_that_it_cannot_build_is_said(settings: Settings) -> None:
    failures = {"model.ctwa.leads": "Binder Error: no column x", "": "Compilation Error"}
    with pytest.raises(PlanError, match="dbt model leads: Binder Error: no column x"):
        compile_plan(settings, "key", capture=lambda _: {"failures": failures})
