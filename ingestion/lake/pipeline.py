"""How dlt is run here: configured in code, no telemetry; what it has read becomes one commit.

Our own code writes one Parquet file for each table; dlt takes these files as they are, records what
they hold and hands them to the lake, where `Lake.commit` publishes them. If dlt wrote the rows, it
would take half as long as the parser. Nor does dlt decide what counts: after a kill or a restored
backup its own cursor would repeat or lose rows.
Its working folder, `<data>/dlt/<dataset>`, describes the last landing that had rows
(`dlt pipeline <dataset> info`), and can be deleted at any time.

dlt reads its settings from the environment, `.dlt/*.toml` and the working directory unless another
provider answers first. `_VALUES` below is that provider, and the only place to look.

dlt is imported where it reads: that takes a second, which a night without new rows does without.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ctwa.files import keep_private, private_files
from ingestion.lake.commit import TableWriter
from ingestion.lake.files import LakeError

if TYPE_CHECKING:
    from dlt.common.schema.typing import TTableSchema, TWriteDisposition
    from dlt.extract import DltResource, DltSource

Batch = Mapping[str, pa.Table]
"""Rows by table; tables without rows may be absent."""

_VALUES: dict[str, Any] = {
    "runtime": {"dlthub_telemetry": False, "log_level": "CRITICAL"},
    "restore_from_destination": False,
    # A dozen files: threads cost more than they save.
    "extract": {"workers": 1},
    "normalize": {"workers": 1},
    "load": {"workers": 4, "delete_completed_jobs": True, "raise_on_max_retries": 2},
}
_PROVIDER = "ctwa"


def configure() -> None:
    """Put our values in front of dlt's own sources of settings; calling it again is harmless."""
    from dlt.common.configuration.container import Container
    from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
    from dlt.common.runtime.telemetry import stop_telemetry

    context = Container()[PluggableRunContext]
    if any(p.name == _PROVIDER for p in context.providers.providers):
        return
    context.providers.providers.insert(0, _values())
    # Importing dlt has already started its log and its telemetry with the defaults.
    stop_telemetry()
    context.initialize_runtime()


def _values() -> Any:
    """`_VALUES` as a provider of dlt's."""
    from dlt.common.configuration.providers.dictionary import DictionaryProvider

    class Values(DictionaryProvider):
        NAME = _PROVIDER

        def __init__(self) -> None:
            super().__init__()
            self._config_doc = _VALUES

        @property
        def name(self) -> str:
            return self.NAME

    return Values()


def typed_source(
    name: str,
    schemas: Mapping[str, pa.Schema],
    batches: Iterable[Batch] | Callable[[], Iterable[Mapping[str, Any]]],
    *,
    write_disposition: TWriteDisposition = "append",
) -> DltSource:
    """A dlt source with one resource for each table, fed by one pass over `batches`.

    `batches`: rows, or a function that returns them when dlt extracts. Columns have the types of
    the schemas before the first row arrives.
    """
    import dlt
    from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns

    @dlt.source(name=name)
    def source() -> list[DltResource]:
        @dlt.resource(name="batches", selected=False)
        def feed() -> Iterator[Mapping[str, Any]]:
            yield from batches() if callable(batches) else batches

        parent = feed()
        return [
            dlt.transformer(
                _rows_of(table),
                name=table,
                data_from=parent,
                write_disposition=write_disposition,
                columns=py_arrow_to_table_schema_columns(schema),
            )
            for table, schema in schemas.items()
        ]

    return source()


def _rows_of(table: str) -> Callable[[Mapping[str, Any]], Any]:
    def rows(batch: Mapping[str, Any]) -> Any:
        return batch.get(table)

    return rows


def load(
    add: Callable[[str, Path], None],
    dataset: str,
    schemas: Mapping[str, pa.Schema],
    batches: Iterable[Batch],
    pipelines_dir: Path,
) -> None:
    """Run a dlt pipeline that calls `add` with table and path of a Parquet file for each table.

    An exception of `batches` is raised as it is, not wrapped by dlt; `LakeError` if dlt itself
    fails. Whatever is raised, the run leaves nothing in its folder.
    """
    import dlt

    def lake(path: Any, table: TTableSchema) -> None:
        add(str(table["name"]), Path(path))

    configure()
    with _folder(pipelines_dir, dataset) as folder:
        pipeline = dlt.pipeline(
            pipeline_name=dataset,
            pipelines_dir=str(folder),
            # Not `@dlt.destination`: dlt's command line could not find what that makes.
            destination=dlt.destinations.destination(
                lake, batch_size=0, loader_file_format="parquet"
            ),
            dataset_name=dataset,
        )
        written = folder / dataset / "written"
        source = typed_source(dataset, schemas, lambda: _as_files(batches, written))
        try:
            pipeline.run(source).raise_on_failed_jobs()
        except Exception as error:  # noqa: BLE001 - unwrapped and raised again
            cause = _root_cause(error)
            if cause is error:
                raise LakeError(f"loading {dataset} into the lake failed: {error}") from None
            raise cause from None
        if pipeline.has_pending_data:
            raise LakeError(f"loading {dataset} stopped half-way; run the refresh again")
        shutil.rmtree(written, ignore_errors=True)


def _as_files(batches: Iterable[Batch], folder: Path) -> Iterator[Mapping[str, Any]]:
    """One Parquet file for each table with rows, all at once and marked for dlt to take as they
    are."""
    import dlt

    folder.mkdir(parents=True)
    writers: dict[str, TableWriter] = {}
    rows: Counter[str] = Counter()
    for batch in batches:
        for table, found in batch.items():
            if table not in writers:
                file = (folder / f"{table}.parquet").open("wb")
                writers[table] = TableWriter(file, found.schema)
            writers[table].write(found)
            rows[table] += found.num_rows
    for writer in writers.values():
        writer.close()
    yield {
        table: dlt.mark.with_file_import(
            str(folder / f"{table}.parquet"), "parquet", rows[table], writer.schema.empty_table()
        )
        for table, writer in writers.items()
    }


@contextmanager
def _folder(pipelines_dir: Path, dataset: str) -> Iterator[Path]:
    try:
        with private_files():  # the folder stays
            pipelines_dir.mkdir(parents=True, exist_ok=True)
            keep_private(pipelines_dir)
            yield pipelines_dir
    except BaseException:
        forget(pipelines_dir, dataset)
        raise


def forget(pipelines_dir: Path, dataset: str) -> None:
    """Delete the working folder of a dataset's pipeline."""
    shutil.rmtree(pipelines_dir / dataset, ignore_errors=True)


def forget_killed(pipelines_dir: Path, dataset: str) -> None:
    """Delete the working folder if a killed run has left rows in it."""
    if any((pipelines_dir / dataset).rglob("*.parquet")):
        forget(pipelines_dir, dataset)
    shutil.rmtree(pipelines_dir.with_name("work") / "dlt", ignore_errors=True)  # early versions'


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with exactly the columns of `schema`: by name, absent ones null, types cast."""
    if table.schema.equals(schema):
        return table
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _root_cause(error: BaseException) -> BaseException:
    """The first exception below dlt's wrapping that is not dlt's own, else `error`."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if not type(current).__module__.startswith("dlt."):
            return current
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return error
