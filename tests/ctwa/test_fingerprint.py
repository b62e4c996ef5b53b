"""Fingerprints of tables tell other rows apart, and nothing else."""

from __future__ import annotations

import duckdb
import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from ctwa import fingerprint

Row = tuple[int | None, str]


def test_a_fingerprint_is_of_columns_and_rows_whatever_their_order() -> None:
    some = st.lists(st.tuples(st.sampled_from([None, 0, 1, 2]), st.sampled_from("ab")), max_size=5)

    def version(found: list[Row]) -> str:
        connection.execute("create or replace table t (n integer, x varchar)")
        if found:
            connection.executemany("insert into t values (?, ?)", found)
        return fingerprint.of_table(connection, "main", "t")

    @hypothesis.settings(deadline=None, max_examples=60)
    @given(some, some)
    def tell_rows_apart(one: list[Row], other: list[Row]) -> None:
        is_same = sorted(map(repr, one)) == sorted(map(repr, other))
        assert (version(one) == version(other)) is is_same

    with duckdb.connect() as connection:
        tell_rows_apart()
        versions = [version([(1, "a")])]
        for change in ("rename n to m", "alter m type bigint"):
            connection.execute(f"alter table t {change}")
            versions.append(fingerprint.of_table(connection, "main", "t"))
    assert len(set(versions)) == len(versions)
