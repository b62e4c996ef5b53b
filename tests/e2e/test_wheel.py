"""The wheel, built from this checkout and installed where the checkout is not.

The libraries are those of the environment that runs the tests, so nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from simulator.ads_api import serve_ads_api
from simulator.ads_state import Account, AdsState

ROOT = Path(__file__).parents[2]
NAME = "ctwa_attribution"
PACKAGED = (
    NAME, "activation", "benchmarks", "commands", "comparison", "ctwa", "ingestion", "keeping",
    "orchestration", "publishing", "simulator", "dbt_project", "deploy", "docs", "site",
)  # fmt: skip
AT_THE_TOP = (
    "dbt_project.yml", "profiles.yml", "workspace.yaml", "requirements.lock", ".env.example",
    "README.md", "CHANGELOG.md", ".dagster_home/dagster.yaml",
)  # fmt: skip
TOOLS = """
cd acme
export DAGSTER_HOME=$PWD/data/dagster
ctwa dbt ls --quiet --resource-type model --select fct_leads
ctwa mf list metrics --show-all-dimensions
python -m dagster definitions validate -w workspace.yaml
dg() { python -c 'from dagster_dg_cli.cli import main; main()' "$@"; }
dg check defs
dg list defs --json
"""
"""The folder's own use of dbt, MetricFlow and Dagster, as docs/installation.md says."""


@dataclass(frozen=True)
class Installed:
    """A wheel, the environment it is installed into, and a folder far from the checkout."""

    wheel: Path
    bin: Path
    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of that environment there, with no variable that names the checkout."""
        return self._run(str(self.bin / command[0]), *command[1:])

    def script(self, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run lines of a shell there, as somebody types them who has activated the environment."""
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return self._run("bash", "-euxc", text, PATH=path, **variables)

    def _run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        hidden = ("CTWA_", "PYTHON", "DAGSTER_", "DBT_", "VIRTUAL_ENV")
        variables = {n: v for n, v in os.environ.items() if not n.startswith(hidden)} | more
        return subprocess.run(
            command, cwd=self.folder, env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    _done(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    (wheel,) = folder.glob("*.whl")
    home = folder / "venv"
    _done(sys.executable, "-m", "venv", "--without-pip", str(home))
    (packages,) = home.glob("lib/python*/site-packages")
    # A line of a .pth file makes importable; that the checkout is editable there does not follow.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ("-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python")
    _done(sys.executable, *install, str(home / "bin" / "python"), str(wheel))
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    return Installed(wheel, home / "bin", elsewhere)


def _done(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_has_every_file_of_the_product_below_one_name(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        found = {n for n in wheel.namelist() if ".dist-info/" not in n}
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGED], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    wanted = {n for n in tracked if not n.startswith("docs/images/")}
    wanted -= {n for n in tracked if n.startswith("docs/") and n.endswith(".py")}
    own = {n for n in wanted if n.startswith(f"{NAME}/")}
    below = {f"{NAME}/{n}" for n in (wanted - own) | set(AT_THE_TOP)}
    assert len(own) >= 3
    assert (own | below) - found == set(), "is missing"
    assert {n for n in found if not n.startswith(f"{NAME}/")} == set(), "is at the top"
    assert {n for n in found if n.endswith((".pyc", ".env", ".db", ".duckdb"))} == set()


def test_it_works_in_a_folder_that_has_packages_of_the_same_names(installed: Installed) -> None:
    for name in ("ingestion", "commands", "publishing"):
        (installed.folder / name).mkdir(exist_ok=True)
        (installed.folder / name / "__init__.py").write_text("raise ImportError('not ours')\n")
    version = installed.run("ctwa", "--version")
    module = installed.run("python", "-m", NAME, "--version")
    examined = installed.run("ctwa", "doctor", "--receiver", "http://127.0.0.1:9")

    assert (version.returncode, version.stderr) == (0, "")
    assert module.stdout == version.stdout
    assert examined.returncode == 1
    assert "✓ settings" in examined.stdout or "✓ versions" in examined.stdout, examined.stdout
    assert "could not be examined" not in examined.stdout


def test_dagster_loads_the_code_location_by_the_wheel_s_name(installed: Installed) -> None:
    """Which parses the dbt project, by the profiles of the wheel."""
    validate = ("python", "-m", "dagster", "definitions", "validate", "-m", f"{NAME}.definitions")
    done = installed.run(*validate)

    assert done.returncode == 0, done.stdout + done.stderr
    manifest = installed.folder / "data" / "dbt" / "manifest" / "manifest.json"
    assert str(ROOT / "dbt_project") not in manifest.read_text(), "it read the checkout's"


@pytest.mark.deep
@pytest.mark.timeout(900)
def test_the_demo_of_the_wheel_equals_the_truth(installed: Installed) -> None:
    done = installed.run("ctwa", "demo", "--leads", "200", "--language", "es")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "all equal" in done.stdout
    assert "Bótox | SP | CTWA" in done.stdout
    assert "per qualified" in done.stdout
    assert (installed.folder / "data" / "demo" / "report.html").exists()


@pytest.mark.deep
@pytest.mark.timeout(1800)
def test_the_steps_of_the_readme_connect_a_number_and_an_ad_account(installed: Installed) -> None:
    """What is asked on a terminal comes from the environment here; the platform is a stand-in."""
    (steps,) = re.findall(
        r"^```bash\n(ctwa init .*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    state = AdsState(now=lambda: datetime.now(UTC))
    state.add(Account("101", "Ours", "BRL", "America/Sao_Paulo", True))
    with serve_ads_api(state, token="EAAwheel0token0of0the0test") as api:
        done = installed.script(
            steps,
            META_APP_SECRET="0123456789abcdef0123",
            META_ACCESS_TOKEN=api.token,
            META_AD_ACCOUNT_IDS="101",
            META_GRAPH_URL=api.url,
            META_API_VERSION=api.version,
        )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ours, BRL, America/Sao_Paulo" in done.stdout
    assert "one with a forged signature was refused" in done.stdout
    assert "120200000000000000" in done.stdout, "the ad of the first lead"
    assert (installed.folder / "acme" / "data" / "report.html").exists()
    assert api.wrong == []
    tools = installed.script(TOOLS)
    assert tools.returncode == 0, tools.stdout + tools.stderr
    assert "ctwa.marts.leads.fct_leads\n" in tools.stdout, "dbt's list"
    assert "cost_per_qualified_lead" in tools.stdout, "MetricFlow's list"
    assert '"marts/fct_leads"' in tools.stdout, "dg's list"
    assert "do not apply to any resources" not in tools.stdout + tools.stderr
