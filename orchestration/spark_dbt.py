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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from orchestration.dbt_process import die_with_parent

COLLECTED = ("marts", "activation")
"""Schemas that are brought back: whatever Python reads."""
BUILD_PROPERTY = "ctwa.build"
AWAY_SECONDS = 60.0
"""How long a server may be away while it builds; a session that was in it is lost anyway."""
_SHOWN_ROWS = 20
_BUILD = re.compile(r"(?P<name>\w+)__b(?P<run>\d{14}[0-9a-f]{4})(__new)?")
"""A build of a table, as `macros/adapter/spark/builds.sql` names it."""
_URL = re.compile(r"sc://(?P<host>[^:/;]+)(:(?P<port>\d+))?")


class Refused(Exception):  # noqa: N818 - the text is for people
    """Spark cannot be used; the text says why and what to do."""


def main() -> None:
    """`OUTPUT look`, or `OUTPUT full|continued BUILD [NODE …]`."""
    die_with_parent(os.getppid())
    found, how, *rest = sys.argv[1:]
    threading.Thread(target=_watch, args=(Path(found),), name="server-watch", daemon=True).start()
    try:
        result = look(session()) if how == "look" else run(how == "full", rest[0], rest[1:])
    except Refused as error:
        result = {"refused": str(error)}
    Path(found).write_text(json.dumps(result))


def run(full: bool, build: str, nodes: Sequence[str]) -> dict[str, Any]:
    """Build everything, or some `nodes` by name.

    `build`: what the catalogue is known by since its last whole build; where it is known by another
    name, everything is built. `results` as of `plan_run.Result`; where none of them failed also
    `tables`, as of `_tables`, and `build`.
    """
    from dbt.cli.main import dbtRunner

    spark = session()
    if not full and _known_as(spark) != build:
        full = True
    quiet = ("--target", "spark", "--log-level", "warn", "--log-level-file", "none")
    shown = dbtRunner().invoke(["run-operation", "show_lake", "--args", f"full: {full}", *quiet])
    if not shown.success:
        raise Refused(f"Spark cannot be given the lake: {shown.exception or _faults(shown)}")
    arguments = ["build", *quiet, "--exclude-resource-type", "unit_test"]
    arguments += ["--full-refresh"] if full else []
    arguments += ["--select", *nodes] if nodes and not full else []
    done = dbtRunner().invoke(arguments)
    if done.exception is not None:
        raise Refused(f"dbt could not start on Spark: {done.exception}")
    results: Sequence[Any] = list(getattr(done.result, "results", None) or [])
    said = [_result(spark, result) for result in results]
    if not done.success:
        return {"results": said, "full": full}
    builds = _shown(spark, {(n.schema, n.alias) for n in (r.node for r in results) if _is_built(n)})
    if len({_BUILD.sub(r"\g<run>", shows) for shows in builds.values()}) > 1:
        # A host that was paused while another one took over, and woke up.
        _call(spark, "")
        raise Refused("another process built on this cluster at the same time: run it again")
    if full:
        build = uuid.uuid4().hex
        made = {(n.schema, n.alias) for n in (r.node for r in results) if _is_stored(n)}
        _tidy(spark, made | _sources(), set(builds.values()))
        _call(spark, build)
    return {"results": said, "full": full, "build": build, "tables": _tables(spark)}


def look(spark: Any) -> dict[str, str]:
    """What `ctwa doctor` shows of a cluster that can be used."""
    zone = spark.sql("select current_timezone()").collect()[0][0]
    catalogue = spark.conf.get("spark.sql.catalogImplementation", "in-memory")
    return {"version": str(spark.version), "catalogue": str(catalogue), "timezone": str(zone)}


def session() -> Any:
    """The session that dbt uses as well. Raises `Refused`."""
    url = os.environ["CTWA_SPARK_URL"]
    _reach(url)
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise Refused(f"pyspark is not installed ({error}): `make setup-spark`") from None
    try:
        spark = SparkSession.builder.remote(url).getOrCreate()
        version = str(spark.version)
        if int(version.split(".")[0]) < 4:
            raise Refused(f"the cluster runs Spark {version}: 4.0 or newer is needed")
        spark.conf.set("spark.sql.session.timeZone", "UTC")
        spark.conf.set("spark.sql.parquet.mergeSchema", "true")
    except PySparkException as error:
        raise Refused(_in_a_line(url, error)) from None
    except Exception as error:
        if type(error).__module__.startswith("grpc"):
            raise Refused(_in_a_line(url, error)) from None
        raise
    lake = os.environ["CTWA_LAKE_PATH"]
    try:
        spark.read.parquet(f"{lake}/event_log/envelopes").limit(1).collect()
    except PySparkException as error:
        raise Refused(
            f"the cluster cannot read the lake at {lake} ({_first_line(error)}): "
            "CTWA_ENGINE_LAKE_URL is the lake as the cluster sees it"
        ) from None
    try:
        spark.sql("create schema if not exists ctwa_probe")
        spark.sql("drop schema ctwa_probe")
    except PySparkException as error:
        raise Refused(
            f"no schema can be made in the catalogue ({_first_line(error)}): give the account of "
            "CTWA_SPARK_URL the right to create schemas, tables and views"
        ) from None
    return spark


def _reach(url: str) -> None:
    """A connection of its own: Spark's client tries for minutes before it says anything."""
    import socket

    found = _URL.match(url)
    if not found:
        raise Refused("CTWA_SPARK_URL: expects an address such as sc://host:15002")
    host, port = found["host"], int(found["port"] or 15002)
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        raise Refused(
            f"no Spark Connect server answers at {host}:{port} ({error.strerror or error}): "
            "start it, or correct CTWA_SPARK_URL"
        ) from None


def _watch(found: Path) -> None:
    """End this process when the server has been away for long. Spark's client tries again for ten
    minutes, and dbt goes on to the next model then, and the next."""
    url, since = os.environ["CTWA_SPARK_URL"], time.monotonic()
    while True:
        time.sleep(AWAY_SECONDS / 12)
        try:
            _reach(url)
            since = time.monotonic()
        except Refused as error:
            if time.monotonic() - since > AWAY_SECONDS:
                found.write_text(json.dumps({"refused": f"in the middle of a build {error}"}))
                os._exit(0)


def _in_a_line(url: str, error: Exception) -> str:
    text = str(error)
    found = _URL.match(url)
    host = found["host"] if found else "?"
    if "UNAUTHENTICATED" in text or "PERMISSION_DENIED" in text:
        return f"{host} refuses the token in CTWA_SPARK_URL (expired?): put a new one in"
    return f"the server at {host} is no Spark Connect server that can be used: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:300]


def _result(spark: Any, result: Any) -> dict[str, Any]:
    times = {t.name: t for t in result.timing}
    ran = times.get("execute") or times.get("compile")
    rows: list[dict[str, Any]] = []
    node = result.node
    if result.failures and getattr(node.config, "store_failures", False):
        shown = spark.sql(f"select * from {node.schema}.{node.alias} limit {_SHOWN_ROWS}").collect()  # noqa: S608
        rows = [{k: None if v is None else str(v) for k, v in r.asDict().items()} for r in shown]
    return {
        "unique_id": node.unique_id,
        "status": str(result.status),
        "started": ran.started_at.isoformat() if ran and ran.started_at else None,
        "finished": ran.completed_at.isoformat() if ran and ran.completed_at else None,
        "message": "" if result.status in ("success", "pass") else str(result.message or ""),
        "failures": result.failures if node.resource_type == "test" else None,
        "rows": rows,
    }


def _faults(done: Any) -> str:
    results = getattr(done.result, "results", None) or []
    return "; ".join(str(r.message) for r in results) or "see dbt's log"


def _known_as(spark: Any) -> str:
    if not spark.catalog.databaseExists("marts"):
        return ""
    rows = spark.sql("describe schema extended marts").collect()
    text = " ".join(str(row[1]) for row in rows)
    found = re.search(re.escape(BUILD_PROPERTY) + r",(\w+)", text)
    return found.group(1) if found else ""


def _call(spark: Any, build: str) -> None:
    spark.sql(f"alter schema marts set dbproperties ('{BUILD_PROPERTY}' = '{build}')")


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
