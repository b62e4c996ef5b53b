"""The units of deploy/systemd: one data directory for all, nothing else to write to."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from ctwa.settings import PROJECT_DIR, name_of

UNITS = sorted((PROJECT_DIR / "deploy" / "systemd").glob("*.service"))
HARDENED = {
    "NoNewPrivileges": ["true"],
    "ProtectSystem": ["strict"],
    "ProtectHome": ["true"],
    "PrivateTmp": ["true"],
    "UMask": ["0077"],
    "CapabilityBoundingSet": [""],
    "User": ["ctwa"],
}


def service(path: Path) -> dict[str, list[str]]:
    """Name to values of a unit's section `Service`, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name].append(value)
    return dict(found)


def environment(path: Path) -> dict[str, str]:
    values = service(path)
    assert "EnvironmentFile" not in values, "its rules of quoting are others than those of .env"
    pairs = " ".join(values["Environment"]).split()
    return dict(pair.split("=", 1) for pair in pairs)


def test_all_units_work_on_one_data_directory() -> None:
    """A receiver with another one acknowledged webhooks that no refresh ever read."""
    assert len(UNITS) == 4
    data = {environment(unit).get(name_of("data_dir")) for unit in UNITS}
    assert data == {"/var/lib/ctwa"}
    assert {service(unit)["WorkingDirectory"][0] for unit in UNITS} == {"/opt/ctwa-attribution"}
    for unit in UNITS:
        if "dagster" in unit.name:
            assert environment(unit)["DAGSTER_HOME"] == "/var/lib/ctwa/dagster"
    # What one unit sets of ours, the others set as well: it would part them in the same way.
    assert len({frozenset(environment(u)) - {"DAGSTER_HOME"} for u in UNITS}) == 1


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_may_write_to_its_data_only(unit: Path) -> None:
    values = service(unit)
    assert {name: values.get(name) for name in HARDENED} == HARDENED
    assert values["ReadWritePaths"] == [environment(unit)["CTWA_DATA_DIR"]]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    for unit in UNITS:
        lines = unit.read_text().splitlines()
        # What is started need not be here.
        text = [f"ExecStart={shutil.which('true')}" if x.startswith("Exec") else x for x in lines]
        (tmp_path / unit.name).write_text("\n".join(text) + "\n")
    paths = [str(tmp_path / unit.name) for unit in UNITS]
    if analyze is None:  # a machine without systemd
        assert all(service(Path(p))["ExecStart"] for p in paths)
        return
    done = subprocess.run([analyze, "verify", *paths], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if str(tmp_path) in line] == []
