"""The lock resource spans the run; the options are fixed once."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from ctwa.lock import RefreshBusyError, refresh_lock
from orchestration import resources
from orchestration.reaper import is_dead
from orchestration.resources import WORKER_TAG, RefreshLock, RefreshOptions


def test_the_lock_is_taken_once_per_run_and_held_between_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Path] = []

    def counted(path: Path, *, wait_seconds: float = 0) -> object:
        taken.append(path)
        return refresh_lock(path, wait_seconds=wait_seconds)

    monkeypatch.setattr(resources, "refresh_lock", counted)
    definitions = dg.Definitions(
        assets=[_asset("first", ()), _asset("second", ("first",))],
        resources={"lock": RefreshLock(path=str(tmp_path / "refresh.lock"))},
        jobs=[dg.define_asset_job("both")],
        executor=dg.in_process_executor,
    )

    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("both").execute_in_process(instance=instance)
        run = instance.get_run_by_id(result.run_id)

    assert result.success
    assert taken == [tmp_path / "refresh.lock"]
    assert run is not None
    assert run.tags[WORKER_TAG]
    assert not is_dead(run)
    with refresh_lock(tmp_path / "refresh.lock"):
        pass  # free again


def _asset(name: str, deps: tuple[str, ...]) -> dg.AssetsDefinition:
    def body(lock: RefreshLock) -> None:
        # From another process's view it is taken, in each step.
        import fcntl

        with Path(lock.path).open("r+") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    body.__annotations__ = {"lock": RefreshLock}
    return dg.asset(name=name, deps=list(deps))(body)


def test_a_run_that_does_not_get_the_lock_fails_and_says_why(tmp_path: Path) -> None:
    import multiprocessing

    path = tmp_path / "refresh.lock"
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(path), held, done))
    holder.start()
    try:
        assert held.wait(30)
        with pytest.raises(dg.DagsterResourceFunctionError) as failed:
            dg.materialize(
                [_asset("first", ())],
                resources={"lock": RefreshLock(path=str(path), wait_seconds=0.3)},
            )
        assert isinstance(failed.value.__cause__, RefreshBusyError)
        assert f"process {holder.pid}" in str(failed.value.__cause__)
    finally:
        done.set()
        holder.join()


def _hold(path: str, held: object, done: object) -> None:
    with refresh_lock(Path(path)):
        held.set()  # type: ignore[attr-defined]
        done.wait(60)  # type: ignore[attr-defined]


def test_a_run_speaks_of_one_day() -> None:
    options = RefreshOptions(as_of="2026-02-28")
    with dg.build_init_resource_context() as context:
        options.setup_for_execution(context)

    assert options.day == date(2026, 2, 28)
    assert not options.full_refresh
    assert RefreshOptions(reparse=True).full_refresh
