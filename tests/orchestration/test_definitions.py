"""The code location of the real project: complete, described, bounded, without loose ends."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import dagster as dg
import duckdb
import psycopg
import pytest
import yaml

from ctwa.errors import DataFolderError
from ctwa.settings import PROJECT_DIR, Settings, SettingsError, load_settings
from ingestion.sources import SOURCES
from orchestration import alarm_checks
from orchestration.dbt import leaves_parents_out
from orchestration.dbt_manifest import load_manifest, manifest_path, mart_names
from orchestration.definitions import build_definitions, defs
from orchestration.instance import TEMPLATE, prepare_home
from orchestration.keys import DBT_STEP, DESTINATION_KEYS, EVENTS_KEY, LIVE_KEY
from tests.support.kept import with_manifest
from tests.support.report import write_marts

JOBS = ("nightly_refresh", "fresh_leads", "activation", "meta_backfill", "compare_rules")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("definitions")
    return with_manifest(load_settings(_env_file=None, data_dir=folder))


@pytest.fixture(scope="module")
def definitions(settings: Settings) -> dg.Definitions:
    return build_definitions(settings)


def nodes(definitions: dg.Definitions) -> Iterator[dg.AssetSpec]:
    graph = definitions.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        yield graph.get(key)  # type: ignore[misc]


def test_every_asset_says_what_it_is_and_whose(definitions: dg.Definitions) -> None:
    poor = [
        node.key.to_user_string()
        for node in nodes(definitions)
        if not (node.description and node.owners and node.kinds and node.group_name != "default")
    ]
    assert poor == []


def test_a_wrong_setting_is_one_line_in_the_ui(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A location that loaded without its schedule would look well and do nothing."""
    monkeypatch.setenv("CTWA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CTWA_NIGHTLY_CRON", "60 5 * * *")
    with pytest.raises(SettingsError, match=r"^CTWA_NIGHTLY_CRON: is not a cron line") as error:
        defs()
    assert "\n" not in str(error.value)
    monkeypatch.setenv("CTWA_NIGHTLY_CRON", "0 5 * * *")
    (tmp_path / "data").write_text("../disk/data")
    with pytest.raises(DataFolderError, match="a copy has turned a link into a file"):
        defs()


def test_no_dependency_is_misspelt(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert graph.get_all_asset_keys() - {LIVE_KEY} == graph.materializable_asset_keys


def test_edges_between_groups_have_one_direction(definitions: dg.Definitions) -> None:
    """The graph reads from left to right: no group needs one that needs it."""
    graph = definitions.resolve_asset_graph()
    needs: dict[str, set[str]] = {}
    for node in nodes(definitions):
        groups = {graph.get(parent).group_name for parent in graph.get(node.key).parent_keys}
        needs.setdefault(node.group_name or "", set()).update(g or "" for g in groups)
    order = list(TopologicalSorter({g: n - {g} for g, n in needs.items()}).static_order())
    assert order.index("event_log") < order.index("marts") < order.index("publish")


def test_a_misspelt_dependency_would_be_seen() -> None:
    """The known-bad variant of the test above."""

    @dg.asset(deps=["messagse"])
    def reader() -> None: ...

    graph = dg.Definitions(assets=[reader]).resolve_asset_graph()
    assert graph.get_all_asset_keys() != graph.materializable_asset_keys


def test_every_table_of_the_lake_is_an_asset(definitions: dg.Definitions) -> None:
    keys = {tuple(node.key.path) for node in nodes(definitions)}
    assert {(source.dataset, table) for source in SOURCES for table in source.schemas} <= keys


def test_a_source_that_is_off_says_so(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    description = graph.get(dg.AssetKey(["meta_ads", "ads"])).description or ""
    assert description.startswith("**Off**: set META_ACCESS_TOKEN")


def test_what_is_read_of_the_crm_is_in_the_event_log_the_same_night(
    definitions: dg.Definitions,
) -> None:
    graph = definitions.resolve_asset_graph()
    read = dg.AssetKey(["hubspot", "reads"])
    assert read in graph.get(dg.AssetKey(["event_log", "outcomes"])).parent_keys
    assert (graph.get(read).description or "").startswith("**Off**: set HUBSPOT_TOKEN")


def test_publishing_waits_for_every_mart(definitions: dg.Definitions, settings: Settings) -> None:
    marts = mart_names(load_manifest(manifest_path(settings)))
    graph = definitions.resolve_asset_graph()
    parents = graph.get(dg.AssetKey(["publish", "marts"])).parent_keys
    restatements = dg.AssetKey(["publish", "restatements"])
    expected = {dg.AssetKey(["marts", mart]) for mart in marts}
    # What was sent is shown by what is published after it.
    assert parents == expected | {restatements, *DESTINATION_KEYS}
    assert graph.get(restatements).parent_keys == expected
    assert {"fct_ad_spend", "dim_ads", "conversion_events"} <= set(marts)


def test_sending_comes_after_the_models_that_show_what_was_sent(
    definitions: dg.Definitions,
) -> None:
    """The view reads a file that sending writes: as a dependency that would be a circle."""
    graph = definitions.resolve_asset_graph()
    mart = graph.get(dg.AssetKey(["marts", "conversion_events"]))
    outbox = dg.AssetKey(["activation", "conversion_outbox"])
    assert mart.parent_keys == {outbox}
    assert {outbox, mart.key} <= graph.get(EVENTS_KEY).parent_keys


def test_dbt_is_one_step(definitions: dg.Definitions) -> None:
    """A check that is made between two of its models would cut dbt into several runs."""
    steps = definitions.resolve_job_def("nightly_refresh").graph.node_names()
    assert [name for name in steps if name.startswith(DBT_STEP)] == [DBT_STEP]


def test_tests_of_severity_error_block(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    checks = [graph.get(key) for key in graph.asset_check_keys]
    from_dbt = [c for c in checks if c.key.asset_key.path[0] in ("marts", "intermediate")]
    assert any(check.blocking for check in from_dbt)
    loaded = [c for c in checks if c.key.name == "loaded"]
    assert len(loaded) == 8
    assert not any(check.blocking for check in loaded)


@pytest.mark.parametrize("name", JOBS)
def test_every_job_has_an_end(definitions: dg.Definitions, name: str) -> None:
    job = definitions.resolve_job_def(name)
    assert 0 < int(job.tags["dagster/max_runtime"]) <= 6 * 3600
    assert job.executor_def is dg.in_process_executor
    assert job.description


def test_the_nightly_job_does_everything_but_the_backfill(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    nightly = definitions.resolve_job_def("nightly_refresh").asset_layer.executable_asset_keys
    left_out = graph.get_all_asset_keys() - nightly
    assert left_out == {
        dg.AssetKey(["meta_ads", "insights_backfill"]),
        dg.AssetKey(["comparison", "credit_diff"]),
        LIVE_KEY,  # a process of its own
    }


def test_the_small_path_asks_no_api(definitions: dg.Definitions) -> None:
    keys = definitions.resolve_job_def("fresh_leads").asset_layer.executable_asset_keys
    assert {key.path[0] for key in keys} >= {"event_log", "marts", "publish"}
    assert not [
        key
        for key in keys
        if key.path[0] in ("meta_ads", "exchange_rates", "hubspot", "vault", "alarms")
    ]


def test_the_backfill_takes_a_range_of_days_in_one_run(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    node = graph.get(dg.AssetKey(["meta_ads", "insights_backfill"]))
    assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition)
    assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_the_nightly_schedule_runs_in_the_reporting_zone(
    definitions: dg.Definitions, settings: Settings
) -> None:
    schedule = definitions.resolve_schedule_def("nightly")
    assert schedule.cron_schedule == settings.nightly_cron
    assert schedule.execution_timezone == settings.reporting_timezone
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


def test_the_instance_has_monitoring_retries_and_pools(settings: Settings) -> None:
    home = prepare_home(settings)
    config = yaml.safe_load((home / "dagster.yaml").read_text())
    assert config == yaml.safe_load(TEMPLATE.read_text())
    assert config["run_monitoring"]["enabled"]
    assert config["run_monitoring"]["max_runtime_seconds"] > 0
    assert config["run_monitoring"]["free_slots_after_run_end_seconds"] > 0
    assert config["concurrency"]["pools"] == {"default_limit": 1, "granularity": "run"}
    assert config["run_retries"]["enabled"]
    assert not config["telemetry"]["enabled"]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.run_monitoring_enabled
        assert instance.global_op_concurrency_default_limit == 1


def test_an_edited_dagster_yaml_is_kept(settings: Settings) -> None:
    config = prepare_home(settings) / "dagster.yaml"
    before = config.read_text()
    config.write_text("telemetry: {enabled: false}\n")
    prepare_home(settings)
    assert config.read_text() == "telemetry: {enabled: false}\n"
    config.write_text(before)


def test_workspace_names_the_code_location() -> None:
    workspace = yaml.safe_load((PROJECT_DIR / "workspace.yaml").read_text())
    (entry,) = workspace["load_from"]
    assert entry["python_module"]["module_name"] == "orchestration.definitions"
    assert Path(PROJECT_DIR / "orchestration" / "definitions.py").exists()


def test_the_report_is_written_of_what_was_published(
    settings: Settings, definitions: dg.Definitions, tmp_path: Path
) -> None:
    key = dg.AssetKey(["publish", "report"])
    graph = definitions.resolve_asset_graph()
    assert graph.get(key).parent_keys == {dg.AssetKey(["publish", "marts"])}
    assert key in definitions.resolve_job_def("fresh_leads").asset_layer.executable_asset_keys
    own = load_settings(
        _env_file=None, data_dir=settings.data_dir, marts_path=tmp_path / "marts.duckdb"
    )
    write_marts(own.marts_path)
    job = build_definitions(own).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(asset_selection=[key])
    (event,) = result.asset_materializations_for_node("publish__report")
    written = tmp_path / "report.html"
    assert event.metadata["file"].value == str(written)
    assert event.metadata["bytes"].value == written.stat().st_size


def test_postgres_is_published_to_only_when_it_is_set(
    settings: Settings, definitions: dg.Definitions, postgres_url: str, tmp_path: Path
) -> None:
    key = dg.AssetKey(["publish", "marts_postgres"])
    assert key not in definitions.resolve_asset_graph().get_all_asset_keys()
    with_url = load_settings(
        _env_file=None,
        data_dir=settings.data_dir,
        marts_path=tmp_path / "marts.duckdb",
        marts_url=postgres_url,
    )
    with duckdb.connect(str(with_url.marts_path)) as marts:
        marts.execute("create table fct_leads as select '120226305854810727' as ad_id")
    job = build_definitions(with_url).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(asset_selection=[key])
    assert result.success
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as reader:
        row = reader.execute("select ad_id from marts.fct_leads").fetchone()
    assert row == ("120226305854810727",)


def test_models_built_without_their_parents_are_noticed(definitions: dg.Definitions) -> None:
    """Such a run makes the next whole build a full one: see decision 4."""
    models = next(
        a
        for a in definitions.assets or ()
        if isinstance(a, dg.AssetsDefinition) and a.op.name == "dbt_build"
    )
    target = dg.AssetKey(["marts", "campaign_performance"])
    upstream = dg.AssetSelection.assets(target).upstream().resolve([models])
    assert not leaves_parents_out(models, upstream)
    assert not leaves_parents_out(models, models.keys)
    assert leaves_parents_out(models, {target})
    assert leaves_parents_out(models, upstream - {dg.AssetKey(["marts", "fct_leads"])})


def test_every_alarm_is_a_check_on_what_it_speaks_of_and_blocks_nothing(
    definitions: dg.Definitions,
) -> None:
    graph = definitions.resolve_asset_graph()
    for name, (key, _) in alarm_checks.ALARMS.items():
        check = graph.get(dg.AssetCheckKey(key, name))
        assert not check.blocking
        assert "Warns" in (check.description or "")
    keys = {dg.AssetCheckKey(key, name) for name, (key, _) in alarm_checks.ALARMS.items()}
    nightly = definitions.resolve_job_def("nightly_refresh").asset_layer
    assert keys <= nightly.asset_graph.asset_check_keys


def test_reads_of_every_platform_of_ads_are_looked_at_by_themselves() -> None:
    """One that is not listed is found as well, but its old reads are looked at each time."""
    project = yaml.safe_load((PROJECT_DIR / "dbt_project.yml").read_text())
    platforms = [s.dataset.removesuffix("_ads") for s in SOURCES if s.dataset.endswith("_ads")]
    assert sorted(project["vars"]["ads_platforms"]) == sorted(platforms)
