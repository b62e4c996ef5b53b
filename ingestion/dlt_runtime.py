"""How dlt is run here: configured in code, no telemetry, files durable before their marker.

dlt reads its settings from the environment, `.dlt/*.toml` and the working directory unless a
provider in front of those answers first. One place to look is `_VALUES` below.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration.container import Container
from dlt.common.configuration.providers.dictionary import DictionaryProvider
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.runtime.telemetry import stop_telemetry
from dlt.destinations import filesystem
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient

_VALUES: dict[str, Any] = {
    "runtime": {"dlthub_telemetry": False, "log_level": "CRITICAL"},
    "restore_from_destination": False,
    "data_writer": {"compression": "zstd"},
    # Few columns, large batches: threads cost more than they bring; order stays as yielded.
    "extract": {"workers": 1},
    "normalize": {"workers": 1},
    "load": {"workers": 4, "delete_completed_jobs": True, "raise_on_max_retries": 2},
}


def configure() -> None:
    """Put our values in front of dlt's own sources of settings; calling it again is harmless."""
    context = Container()[PluggableRunContext]
    if any(isinstance(p, _Values) for p in context.providers.providers):
        return
    context.providers.providers.insert(0, _Values())
    # Importing dlt has started its log and its telemetry with the defaults already.
    stop_telemetry()
    context.initialize_runtime()


class _Values(DictionaryProvider):
    NAME = "ctwa"

    def __init__(self) -> None:
        super().__init__()
        self._config_doc = _VALUES

    @property
    def name(self) -> str:
        return self.NAME


def fsync_files(paths: Iterable[Path]) -> None:
    """Make files and the directory entries that name them survive a power cut."""
    folders: set[Path] = set()
    for path in paths:
        _fsync(path)
        folders.update((path.parent, path.parent.parent))
    for folder in folders:
        _fsync(folder)


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _DurableClient(FilesystemClient):
    """dlt never calls fsync: its marker of a complete load could outlive the load's rows."""

    def create_dataset(self) -> None:
        # The folder is there already: `Lake.ensure` has put the schema files into it.
        self.fs_client.makedirs(self.dataset_path, exist_ok=True)

    def complete_load(self, load_id: str) -> None:
        local = self.config.is_local_filesystem
        dataset = Path(self.dataset_path)
        if local:
            fsync_files(dataset.glob(f"*/{load_id}.*.parquet"))
        super().complete_load(load_id)
        if local:
            fsync_files(dataset.glob(f"_dlt_loads/*__{load_id}.jsonl"))


class LakeDestination(filesystem):
    """dlt's filesystem destination, durable, with one flat folder for each table."""

    @property
    def client_class(self) -> type[FilesystemClient]:
        return _DurableClient


def pipeline(dataset: str, bucket_url: str, work_dir: Path) -> dlt.Pipeline:
    """A fresh pipeline without memory: state and cursor are never read back."""
    configure()
    return dlt.pipeline(
        pipeline_name=dataset,
        pipelines_dir=str(work_dir),
        destination=LakeDestination(
            bucket_url=bucket_url,
            layout="{table_name}/{load_id}.{file_id}.{ext}",
            destination_name="lake",
        ),
        dataset_name=dataset,
    )


def root_cause(error: BaseException) -> BaseException:
    """The first exception of ours (or of a library) below dlt's wrapping, else `error`."""
    for inner in _chain(error):
        if not type(inner).__module__.startswith("dlt."):
            return inner
    return error


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
