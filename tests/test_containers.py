"""deploy/Dockerfile and deploy/compose.yaml, as far as they can be checked without an engine."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import typer.main
import yaml

from commands.cli import app
from ctwa.settings import PREFIXES, PROJECT_DIR, Settings, name_of
from hatch_build import FILES

DEPLOY = PROJECT_DIR / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {n: s for n, s in COMPOSE["services"].items() if s["image"] == "ctwa-attribution"}
OF_COMPOSE = {"CTWA_HOST", "CTWA_UI_HOST", "CTWA_UI_USER", "CTWA_UI_PASSWORD_HASH"}


def test_the_build_gets_everything_the_wheel_is_made_of_and_nothing_else() -> None:
    wheel = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    wanted = {*wheel["targets"]["wheel"]["only-include"], *FILES, "pyproject.toml", "LICENSE"}
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert "**" in lines, "without it a `.env` and data would be in a layer"
    taken = {line[1:] for line in lines if line.startswith("!")}
    assert taken == wanted | {"hatch_build.py"}


def test_the_image_runs_as_nobody_special_and_knows_no_secret() -> None:
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    named = set(re.findall(r"\b([A-Z][A-Z0-9_]+)=", DOCKERFILE))
    settings = {name for name in named if name.startswith(PREFIXES)}
    assert settings == {"CTWA_DATA_DIR"}
    assert "ARG " not in DOCKERFILE


@pytest.mark.parametrize("name", OURS)
def test_each_process_is_hardened_and_works_on_the_same_data(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "data:/srv/ctwa/data" in service["volumes"]
    assert service["environment"] == OURS["receiver"]["environment"]
    assert "ports" not in service, "only the proxy is reachable"
    known = {name_of(field) for field in Settings.model_fields}
    given = {n for n in service["environment"] if n.startswith(PREFIXES)}
    assert given - known == set()


def test_what_the_build_asks_of_the_package_it_asks_of_the_installed_one() -> None:
    """In the folder of the sources Python would find these first, and the image has none."""
    asked = re.findall(r"python ([^\n]*?-c) 'import ctwa_attribution", DOCKERFILE)
    assert asked == ["-P -c"]


def test_commands_are_commands() -> None:
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    used = {s["command"][1] for s in OURS.values() if s["command"][0] == "ctwa"}
    assert used == {"serve", "live"}
    assert used <= known
    assert {s["command"][0] for s in OURS.values()} == {"ctwa", "python", "dagster-webserver"}


def test_every_service_is_watched_and_the_ui_has_a_password() -> None:
    services = COMPOSE["services"]
    unwatched = {n for n, s in services.items() if "healthcheck" not in s}
    assert unwatched == {"receiver"}, "the image's own"
    assert {n for n, s in services.items() if "ports" in s} == {"proxy"}
    proxy = (DEPLOY / "compose.Caddyfile").read_text()
    ui = proxy[proxy.index("{$CTWA_UI_HOST} {") :]
    assert ui.index("basic_auth") < ui.index("reverse_proxy ui:3000")
    variables = set(re.findall(r"\{\$(\w+)\}", proxy))
    assert variables == OF_COMPOSE == set(services["proxy"]["environment"])


def test_nothing_secret_is_written_in_it() -> None:
    """Passwords come from outside, and their absence is said before anything starts."""
    text = (DEPLOY / "compose.yaml").read_text()
    used = re.findall(r"\$\{(\w+)([^}]*)\}", text)
    assert {name for name, _ in used} == OF_COMPOSE | {"POSTGRES_PASSWORD"}
    assert all(rest.startswith(":?") for _, rest in used)
