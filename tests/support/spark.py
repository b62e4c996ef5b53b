"""Apache Spark for tests: a cluster of the project's own script, and both engines side by side."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from ctwa.settings import PROJECT_DIR

SCRIPT = PROJECT_DIR / "deploy/spark/cluster.sh"
WHEN = frozenset({"changed_seq", "read_seq", "last_seq", "catalogue_no", "day_digest"})
"""Columns that say in which run a row was made: another night's work, another value. And a digest,
which each engine makes in its own way."""
_WHOLE = {"INTEGER", "BIGINT", "HUGEINT"}


@dataclass
class Cluster:
    """A master, two workers and a Connect server on loopback."""

    folder: Path
    port: int
    environment: Mapping[str, str]
    _sessions: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"sc://127.0.0.1:{self.port}"

    def do(self, *command: str, **environment: str) -> None:
        """A command of the script; an assertion fails with what it says."""
        name, *rest = command
        done = subprocess.run(
            [SCRIPT, name, self.folder, *rest],
            env={**os.environ, **self.environment, "SPARK_PORT": str(self.port), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def kill(self, name: str) -> None:
        """`kill -9` of `worker1`, `master` or `connect`, with all that it started."""
        os.killpg(int((self.folder / f"{name}.pid").read_text()), signal.SIGKILL)

    def session(self) -> Any:
        """A new session, as dbt's: those of a server that was killed are gone with it."""
        from pyspark.sql import SparkSession

        self._sessions.append(SparkSession.builder.remote(self.url).create())
        return self._sessions[-1]

    def close(self) -> None:
        """Before the server goes: at the end of Python each session that is not closed says goodbye
        to it, and tries for ten minutes."""
        while self._sessions:
            self._sessions.pop().client.close()


@contextmanager
def running(
    folder: Path, postgres_socket: Path | None = None, **environment: str
) -> Iterator[Cluster]:
    """A cluster, ended with the test; its catalogue in PostgreSQL if there is a socket of one."""
    with _door(postgres_socket) as port:
        if port:
            environment["METASTORE_URL"] = (
                f"jdbc:postgresql://127.0.0.1:{port}/metastore?user=postgres"
            )
        cluster = Cluster(folder, _free_port(), environment)
        try:
            cluster.do("up")
            yield cluster
        finally:
            cluster.close()
            cluster.do("down")


@contextmanager
def _door(unix_socket: Path | None) -> Iterator[int]:
    """A port of loopback that leads to a Unix socket, which Java's driver cannot open; or 0."""
    if unix_socket is None:
        yield 0
        return
    loop, ready = asyncio.new_event_loop(), threading.Event()
    ports: list[int] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_unix_connection(unix_socket)
        await asyncio.gather(
            pass_on(reader, behind[1]), pass_on(behind[0], writer), return_exceptions=True
        )

    async def serve() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
    ready.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def _free_port() -> int:
    """The first of some ports in a row that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def differences(
    spark: Any, warehouse: Path, tables: Iterable[str], *, without: frozenset[str] = WHEN
) -> dict[str, str]:
    """`schema.table` -> how Spark's table differs from DuckDB's, row for row and both ways."""
    found: dict[str, str] = {}
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"attach '{warehouse}' as duck (read_only)")
        for table in tables:
            files = [f.removeprefix("file://") for f in spark.table(table).inputFiles()]
            ours, theirs = f"duck.{table}", f"read_parquet({files})"
            if said := _difference(connection, ours, theirs, without):
                found[table] = said
    return found


def _difference(
    connection: duckdb.DuckDBPyConnection, ours: str, theirs: str, without: frozenset[str]
) -> str:
    """Every column of a mart exactly. Before the marts, where no contract holds, a sum may be of a
    wider type, and doubles agree but for their last digits: they are compared by their sums."""
    is_mart = ".marts." in ours
    types = [
        {
            n: t if is_mart else _kind(t)
            for n, t, *_ in connection.execute(f"describe from {s}").fetchall()
        }
        for s in (ours, theirs)
    ]
    if types[0] != types[1]:
        other = {n: tuple(t.get(n) for t in types) for n in types[0].keys() | types[1].keys()}
        return f"columns { ({n: t for n, t in other.items() if t[0] != t[1]}) }"
    doubles = [f'"{n}"' for n, t in types[0].items() if t == "DOUBLE" and n not in without]
    names = [f'"{n}"' for n in types[0] if n not in without and f'"{n}"' not in doubles]

    def only(a: str, b: str, columns: str) -> int:
        sql = (
            f"select count(*) from (select {columns} from {a} except all select {columns} from {b})"
        )
        return int(connection.execute(sql).fetchall()[0][0])

    every = ", ".join(names)
    counts = only(ours, theirs, every), only(theirs, ours, every)
    differing = [
        n for n in names if counts != (0, 0) and only(ours, theirs, n) + only(theirs, ours, n)
    ]
    for n in doubles:
        sums = f"select count({n}), sum(abs({n})), min({n}), max({n}) from "
        (one,), (two,) = (connection.execute(sums + side).fetchall() for side in (ours, theirs))
        if any(
            (a is None) != (b is None) or (a and abs(a - b) > 1e-9 * abs(a))
            for a, b in zip(one, two, strict=True)
        ):
            differing.append(n)
    if counts == (0, 0) and not differing:
        return ""
    return f"rows only on DuckDB {counts[0]}, only on Spark {counts[1]}; columns {differing}"


def _kind(data_type: str) -> str:
    if data_type in _WHOLE:
        return "whole"
    return re.sub(r"DECIMAL\(\d+,(\d+)\)", r"DECIMAL(\1)", data_type)
