"""A session on the cluster, after a look at all that a person can mend: said in a line each, before
anything is built."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

OURS = "ctwa.made"
"""Property of each schema that a build made: what lies in others is somebody else's."""
_PROBE = "ctwa_probe_"
_PROBE_NAME = re.compile(_PROBE + r"((?P<hour>\d+)_)?[0-9a-f]{32}")
_READY_SECONDS = 20.0
_URL = re.compile(r"sc://(?P<host>[^:/;]+)(:(?P<port>\d+))?")

FULL = (
    "a disk of the cluster is full (No space left on device): make room where its workers keep "
    "scratch files (SPARK_LOCAL_DIRS) and builds, and run the refresh again"
)


class Refused(Exception):  # noqa: N818 - the text is for people
    """Spark cannot be used; the text says why and what to do."""


def session(last_seq: int = 0) -> tuple[Any, str]:
    """The session that dbt uses as well, and where the lake ends, as of `lake_ends`. `last_seq`:
    where it is to end, if that is to be looked at. Raises `Refused`."""
    url = os.environ["CTWA_SPARK_URL"]
    reach(url)
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise Refused(f"pyspark is not installed ({error}): `make setup-spark`") from None
    _speaks_connect(url)
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
    ends = _read_the_lake(spark, last_seq)
    _try_the_catalogue(spark)
    return spark, ends


def envelopes(spark: Any, lake: str) -> Any:
    """Number and moment, in microseconds, of every envelope of the lake."""
    found = spark.read.parquet(f"{lake}/event_log/envelopes")
    return found.selectExpr("seq", "unix_micros(received_at) as at")


def lake_ends(spark: Any, lake: str) -> str:
    """The newest envelope of the lake as `seq-microseconds`; empty of an empty lake."""
    newest = envelopes(spark, lake).selectExpr("max(struct(seq, at)) as last").collect()[0]["last"]
    return f"{newest['seq']}-{newest['at']}" if newest else ""


def reach(url: str) -> None:
    """A connection of its own: Spark's client tries for minutes before it says anything."""
    import socket

    host, port = _address(url)
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        raise Refused(
            f"no Spark Connect server answers at {host}:{port} ({error.strerror or error}): "
            "start it, or correct CTWA_SPARK_URL"
        ) from None


def _speaks_connect(url: str) -> None:
    """The port of a web page or of the master, or TLS on one side only: Spark's client would try
    again for ten minutes."""
    import grpc
    from pyspark.sql.connect.client import DefaultChannelBuilder

    channel = DefaultChannelBuilder(url).toChannel()
    try:
        grpc.channel_ready_future(channel).result(timeout=_READY_SECONDS)
    except grpc.FutureTimeoutError:
        host, port = _address(url)
        raise Refused(
            f"what answers at {host}:{port} does not speak Spark Connect: put the Connect server's "
            "port into CTWA_SPARK_URL (15002, not the master's 7077), and ;use_ssl=true, or a "
            "token, where and only where it has TLS"
        ) from None
    finally:
        channel.close()


def _read_the_lake(spark: Any, last_seq: int) -> str:
    """Where it ends, after a look that it is there and the one that is landed into: a copy of
    yesterday's would be built without a word."""
    from pyspark.errors import PySparkException

    lake = os.environ["CTWA_LAKE_PATH"]
    fix = "CTWA_ENGINE_LAKE_URL is the lake as the cluster sees it"
    try:
        ends = lake_ends(spark, lake)
    except PySparkException as error:
        if is_full(error):
            raise Refused(FULL) from None
        raise Refused(
            f"the cluster cannot read the lake at {lake} ({first_line(error)}): {fix}"
        ) from None
    found = int(ends.partition("-")[0] or 0)
    if last_seq and found != last_seq:
        raise Refused(
            f"the lake that the cluster reads at {lake} ends at envelope {found}, this host's at "
            f"{last_seq}, so it is another one or an older copy: {fix}"
        )
    sent = f"{os.environ['CTWA_ACTIVATION_PATH']}/conversions.parquet"
    try:
        if Path(sent).exists():  # not before the first refresh
            spark.read.parquet(sent)
    except PySparkException as error:
        raise Refused(
            f"the cluster cannot read {sent}, which tells what was sent ({first_line(error)}): "
            "mount CTWA_DATA_DIR of this host on the cluster at the same path"
        ) from None
    return ends


def _try_the_catalogue(spark: Any) -> None:
    """A schema, a table and a view can be made, and this host can read what the workers wrote."""
    from pyspark.errors import PySparkException

    # Of this look alone: another one, at the same time, may end first.
    path, hour = os.environ.get("CTWA_ENGINE_PATH", ""), int(time.time() // 3600)
    schema = f"{_PROBE}{hour}_{uuid.uuid4().hex}"
    place = f" location '{path}/{schema}'" if path else ""
    try:
        for (old,) in spark.sql(f"show schemas like '{_PROBE}*'").collect():
            # Of a look that was killed: none takes an hour. Another look may be dropping it, too.
            made = _PROBE_NAME.fullmatch(old)
            if made and int(made["hour"] or 0) < hour - 1:
                with suppress(PySparkException):
                    spark.sql(f"drop schema if exists {old} cascade")
        spark.sql(f"create schema {schema}{place}")
        spark.sql(f"create table {schema}.made using parquet as select 1 as n")
        spark.sql(f"create view {schema}.shown as select * from {schema}.made")  # noqa: S608
        files = [f.removeprefix("file://") for f in spark.table(f"{schema}.shown").inputFiles()]
        _read_here(files)
        spark.sql(f"drop schema {schema} cascade")
    except PySparkException as error:
        if is_full(error):
            raise Refused(FULL) from None
        raise Refused(
            f"no schema, table and view can be made in the catalogue ({first_line(error)}): give "
            "the account of CTWA_SPARK_URL the right to create and drop them, and the workers to "
            f"write to {path or 'where the catalogue puts schemas'}"
        ) from None


def _read_here(files: list[str]) -> None:
    import duckdb

    try:
        with duckdb.connect() as connection:
            connection.execute("select * from read_parquet($files)", {"files": files}).fetchall()
    except duckdb.Error as error:
        raise Refused(
            f"this host cannot read what the cluster built ({first_line(error)}): put "
            "CTWA_ENGINE_PATH where both can, such as a shared disk"
        ) from None


def refuse_schemas_of_others(spark: Any, schemas: Iterable[str]) -> None:
    """A build drops whatever lies in its schemas and is not its own; `marts` is a name that a
    company's catalogue may well have."""
    path = os.environ.get("CTWA_ENGINE_PATH", "")
    for schema in sorted(schemas):
        if not spark.catalog.databaseExists(schema):
            continue
        rows = {
            row[0]: str(row[1]) for row in spark.sql(f"describe schema extended {schema}").collect()
        }
        is_ours = OURS in rows.get("Properties", "")
        if not is_ours and spark.sql(f"show tables in {schema}").head(1):
            raise Refused(
                f"the catalogue has a schema {schema} with tables that ctwa did not make and would "
                "drop: give CTWA_SPARK_URL a catalogue of its own"
            )
        place = rows["Location"].partition(":")[2].rstrip("/") or rows["Location"]
        if path and not place.endswith(f"{path.partition(':')[2] or path}/{schema}"):
            raise Refused(
                f"schema {schema} lies at {rows['Location']}, not below CTWA_ENGINE_PATH ({path}): "
                "set it back, or drop the schemas with `cascade`, so that they are made anew"
            )


def _address(url: str) -> tuple[str, int]:
    """Host and port; never the token."""
    found = _URL.match(url)
    if not found:
        raise Refused("CTWA_SPARK_URL: expects an address such as sc://host:15002")
    return found["host"], int(found["port"] or 15002)


def _in_a_line(url: str, error: Exception) -> str:
    text, (host, _) = str(error), _address(url)
    if "UNAUTHENTICATED" in text or "PERMISSION_DENIED" in text:
        return f"{host} refuses the token in CTWA_SPARK_URL (expired?): put a new one in"
    return f"the server at {host} is no Spark Connect server that can be used: {first_line(error)}"


def is_full(error: object) -> bool:
    """Whether a statement failed because a disk of the cluster is full."""
    return "No space left on device" in str(error)


def first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:300]
