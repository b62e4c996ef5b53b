"""dbt on Spark, as a process of its own: it builds and tests the project and says what it found.

Run by `orchestration.spark`, with the settings in the environment. Standard output is dbt's; what
was found goes into the file that the argument names. Before dbt starts, cluster and lake are looked
at, so that what a person can mend is said in a line and nothing is built.

After a whole build nothing older is left on the cluster, not even what killed runs left that the
catalogue does not know: an erasure ends with one.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestration.dbt_process import die_with_parent
from orchestration.spark_session import (
    FULL,
    Refused,
    envelopes,
    is_full,
    reach,
    refuse_schemas_of_others,
    session,
)

COLLECTED = ("marts", "activation")
"""Schemas that are brought back: whatever Python reads."""
BUILD_PROPERTY = "ctwa.build"
LAKE_PROPERTY = "ctwa.lake"
"""Of schema `marts`: the newest envelope that a build has read, as of `lake_ends`."""
AWAY_SECONDS = 60.0
"""How long a server may be away while it builds; a session that was in it is lost anyway."""
_SHOWN_ROWS = 20
_RUN = ("model", "seed", "test")
_BUILD = re.compile(r"(?P<name>\w+)__b(?P<run>\d{14}[0-9a-f]{4})(__new)?")
"""A build of a table, as `macros/adapter/spark/builds.sql` names it."""


def main() -> None:
    """`OUTPUT look`, or `OUTPUT full|continued KNOWN [NODE …]`, as of `run`."""
    die_with_parent(os.getppid())
    found, how, *rest = sys.argv[1:]
    threading.Thread(target=_watch, args=(Path(found),), name="server-watch", daemon=True).start()
    try:
        if how == "look":
            result: dict[str, Any] = look(session()[0])
        else:
            result = run(how == "full", json.loads(rest[0]), rest[1:])
    except Refused as error:
        result = {"refused": str(error)}
    Path(found).write_text(json.dumps(result))
    sys.stdout.flush()
    # Spark's client would say goodbye to a server that may have gone, and try so for ten minutes.
    os._exit(0)


def run(full: bool, known: Mapping[str, Any], nodes: Sequence[str]) -> dict[str, Any]:
    """Build everything, or some `nodes` by name.

    `known`: the `build` that the catalogue is called by since its last whole build, and what its
    views have `shown` since the last run that ended well; the `schemas` that a build writes to; and
    the `last_seq` that the lake must end at, if the cluster reads it in another place. Where the
    catalogue is called otherwise, or shows what is older, or has read envelopes that are not in the
    lake (a data folder that was set back), everything is built. Returns `results` as of
    `plan_run.Result`; where none of them failed also `tables`, as of `_tables`, and the next run's
    `build` and `shown`.
    """
    from dbt.cli.main import dbtRunner

    spark, ends = session(known.get("last_seq", 0))
    refuse_schemas_of_others(spark, known.get("schemas", ()))
    build, before = known.get("build", ""), known.get("shown", {})
    lake = os.environ["CTWA_LAKE_PATH"]
    if not full and (
        _known_as(spark) != build or _is_set_back(spark, before) or has_read_more(spark, lake)
    ):
        full = True
    if spark.catalog.databaseExists("marts"):
        # Before anything is read: a build that is killed has read it, too. A whole one is begun
        # again.
        _set(spark, LAKE_PROPERTY, ends)
        if full:
            _set(spark, BUILD_PROPERTY, "")
    quiet = ("--target", "spark", "--log-level", "warn", "--log-level-file", "none")
    given = dbtRunner().invoke(["run-operation", "show_lake", "--args", f"full: {full}", *quiet])
    if not given.success:
        raise Refused(f"Spark cannot be given the lake: {given.exception or _faults(given)}")
    arguments = ["build", *quiet, "--exclude-resource-type", "unit_test"]
    arguments += ["--full-refresh"] if full else []
    arguments += ["--select", *nodes] if nodes and not full else []
    done = dbtRunner().invoke(arguments)
    if done.exception is not None:
        raise Refused(f"dbt could not start on Spark: {done.exception}")
    # An exposure is among them, which is nothing that is built.
    results = [r for r in getattr(done.result, "results", ()) or () if r.node.resource_type in _RUN]
    said = [_result(spark, result) for result in results]
    if not done.success:
        return {"results": said, "full": full}
    builds = _shown(spark, {(n.schema, n.alias) for n in (r.node for r in results) if _is_built(n)})
    if len({_run_of(shows) for shows in builds.values()}) > 1:
        # A host that was paused while another one took over, and woke up.
        _set(spark, BUILD_PROPERTY, "")
        raise Refused("another process built on this cluster at the same time: run it again")
    if full:
        build = uuid.uuid4().hex
        made = {(n.schema, n.alias) for n in (r.node for r in results) if _is_stored(n)}
        _tidy(spark, made | _sources(), set(builds.values()))
        _set(spark, LAKE_PROPERTY, ends)
        _set(spark, BUILD_PROPERTY, build)
    shown = {f"{schema}.{name}": shows for (schema, name), shows in builds.items()}
    return {
        "results": said,
        "full": full,
        "build": build,
        "shown": shown if full else before | shown,
        "tables": _tables(spark),
    }


def look(spark: Any) -> dict[str, str]:
    """What `ctwa doctor` shows of a cluster that can be used."""
    zone = spark.sql("select current_timezone()").collect()[0][0]
    catalogue = spark.conf.get("spark.sql.catalogImplementation", "in-memory")
    return {"version": str(spark.version), "catalogue": str(catalogue), "timezone": str(zone)}


def _watch(found: Path) -> None:
    """End this process when the server has been away for long. Spark's client tries again for ten
    minutes, and dbt goes on to the next model then, and the next."""
    url, since = os.environ["CTWA_SPARK_URL"], time.monotonic()
    while True:
        time.sleep(AWAY_SECONDS / 12)
        try:
            reach(url)
            since = time.monotonic()
        except Refused as error:
            if time.monotonic() - since > AWAY_SECONDS:
                found.write_text(json.dumps({"refused": f"in the middle of a build {error}"}))
                os._exit(0)


def _result(spark: Any, result: Any) -> dict[str, Any]:
    times = {t.name: t for t in result.timing}
    ran = times.get("execute") or times.get("compile")
    rows: list[dict[str, Any]] = []
    node, text = result.node, str(result.message or "")
    if result.failures and getattr(node.config, "store_failures", False):
        shown = spark.sql(f"select * from {node.schema}.{node.alias} limit {_SHOWN_ROWS}").collect()  # noqa: S608
        rows = [{k: None if v is None else str(v) for k, v in r.asDict().items()} for r in shown]
    return {
        "unique_id": node.unique_id,
        "status": str(result.status),
        "started": ran.started_at.isoformat() if ran and ran.started_at else None,
        "finished": ran.completed_at.isoformat() if ran and ran.completed_at else None,
        "message": "" if result.status in ("success", "pass") else FULL if is_full(text) else text,
        "failures": result.failures if node.resource_type == "test" else None,
        "rows": rows,
    }


def _faults(done: Any) -> str:
    results = getattr(done.result, "results", None) or []
    return "; ".join(str(r.message) for r in results) or "see dbt's log"


def _known_as(spark: Any) -> str:
    return _property(spark, BUILD_PROPERTY)


def _property(spark: Any, name: str) -> str:
    if not spark.catalog.databaseExists("marts"):
        return ""
    rows = spark.sql("describe schema extended marts").collect()
    text = " ".join(str(row[1]) for row in rows)
    found = re.search(re.escape(name) + r",([\w-]+)", text)
    return found.group(1) if found else ""


def _set(spark: Any, name: str, value: str) -> None:
    spark.sql(f"alter schema marts set dbproperties ('{name}' = '{value}')")


def has_read_more(spark: Any, lake: str) -> bool:
    """Whether the builds have read an envelope that is not in the lake: it was set back, to a
    snapshot perhaps, and what came since has the numbers of what was lost."""
    seq, _, at = _property(spark, LAKE_PROPERTY).partition("-")
    if not seq:
        return False
    return not envelopes(spark, lake).where(f"seq = {seq} and at = {at}").head(1)


def _sources() -> set[tuple[str, str]]:
    """The views of the lake: one of them lies in a schema of models."""
    manifest = json.loads(Path(os.environ["DBT_TARGET_PATH"], "manifest.json").read_text())
    return {(s["schema"], s["identifier"]) for s in manifest["sources"].values()}


def _is_stored(node: Any) -> bool:
    kept = node.resource_type in ("model", "seed")
    return kept or bool(getattr(node.config, "store_failures", False))


def _is_built(node: Any) -> bool:
    is_view = node.config.materialized == "view"
    return node.resource_type in ("model", "seed") and not is_view


def _shown(spark: Any, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Of each (schema, name) the build that its view shows, as `name__b…`."""
    found = {}
    for schema, name in sorted(names):
        text = spark.sql(f"show create table {schema}.{name}").collect()[0][0]
        builds = [m.group(0) for m in _BUILD.finditer(text) if m["name"] == name]
        found[schema, name] = builds[0] if builds else ""
    return found


def _is_set_back(spark: Any, before: Mapping[str, str]) -> bool:
    """Whether a view shows an older build than the last run that ended well left: by a host that
    was paused in the middle of its own, and woke up after that of another one."""
    from pyspark.errors import AnalysisException

    newest = max((_run_of(shows) for shows in before.values()), default="")
    try:
        now = _shown(spark, {(s, n) for s, _, n in (name.partition(".") for name in before)})
    except AnalysisException:  # a view is gone
        return True
    return any(
        shows != before[".".join(of)] and _run_of(shows)[:14] < newest[:14]
        for of, shows in now.items()
    )


def _run_of(build: str) -> str:
    return _BUILD.sub(r"\g<run>", build)


def _tidy(spark: Any, made: set[tuple[str, str]], builds: set[str]) -> None:
    """Drop, after a whole build, what no node makes any more and every build that no view shows;
    then empty what the catalogue does not know. Rows of erased people may be in all of them."""
    for schema in sorted({schema for schema, _ in made}):
        names = {alias for of, alias in made if of == schema} | builds
        known = set()
        for row in spark.sql(f"show tables in {schema}").collect():
            name = row["tableName"]
            if name in names:
                known.add(name)
                continue
            kind = "view" if _is_view(spark, f"{schema}.{name}") else "table"
            spark.sql(f"drop {kind} if exists {schema}.{name}")
        _empty_unknown(spark, schema, known)


def _empty_unknown(spark: Any, schema: str, known: set[str]) -> None:
    """A table comes into the catalogue when it is written: of one that was being written when its
    server was killed there is only a folder, which no `drop` reaches."""
    from pyspark.errors import AnalysisException

    described = spark.sql(f"describe schema extended {schema}").collect()
    (place,) = (row[1].rstrip("/") for row in described if row[0] == "Location")
    # Spark passes over what is called `_…` where it lists a folder, not where it is named itself.
    everywhere = f"{place}/*{{,/_temporary/*,/_temporary/*/_temporary}}"
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    try:
        rows = files.load(everywhere).where("length > 0").select("path").collect()
    except AnalysisException:  # no folder at all
        return
    _, _, under = place.rpartition(":")
    for folder in {row["path"].split(under + "/", 1)[1].split("/")[0] for row in rows} - known:
        if _BUILD.fullmatch(folder):
            path = f"{place}/{folder}"
            spark.sql(f"insert overwrite directory '{path}' using text select '' where false")


def _is_view(spark: Any, name: str) -> bool:
    rows = spark.sql(f"describe extended {name}").collect()
    return any(row[0] == "Type" and row[1] == "VIEW" for row in rows)


def _tables(spark: Any) -> dict[str, dict[str, Any]]:
    """`schema.table` -> Parquet files of what is collected, and the rows Spark counts in it."""
    names = [
        f"{schema}.{row['viewName']}"
        for schema in COLLECTED
        for row in spark.sql(f"show views in {schema}").collect()
    ]
    counts = " union all ".join(f"select '{n}' as name, count(*) as n from {n}" for n in names)  # noqa: S608
    rows = {row["name"]: row["n"] for row in spark.sql(counts).collect()}
    return {
        name: {
            "rows": rows[name],
            "files": sorted(f.removeprefix("file://") for f in spark.table(name).inputFiles()),
        }
        for name in names
    }


if __name__ == "__main__":
    main()
