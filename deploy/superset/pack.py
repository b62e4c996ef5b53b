"""The dashboard of this folder as a ZIP that Superset imports (docs/bi.md).

    python deploy/superset/pack.py 'postgresql+psycopg2://bi_reader:…@host/marts' dashboard.zip

The address of the marts, with the reader's password, goes into the ZIP and nowhere else: keep the
ZIP to yourself, or leave the address out and give Superset the real one afterwards (Settings >
Database connections).
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parent / "dashboard"
CONNECTION = "databases/ctwa_marts.yaml"


def pack(target: Path, uri: str | None = None) -> None:
    """Write the ZIP; `uri` is the SQLAlchemy address under which Superset reaches the marts."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path in sorted(FOLDER.rglob("*.yaml")):
            text, name = path.read_text(), path.relative_to(FOLDER).as_posix()
            if uri and name == CONNECTION:
                text = yaml.safe_dump({**yaml.safe_load(text), "sqlalchemy_uri": uri})
            bundle.writestr(f"dashboard/{name}", text)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: pack.py [SQLALCHEMY_URI] TARGET.zip")
    pack(Path(sys.argv[-1]), sys.argv[1] if len(sys.argv) == 3 else None)
