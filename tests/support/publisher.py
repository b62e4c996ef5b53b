"""A stand-in for what brings messages to the marts: a lead for each body of the vault, no more.

python -m tests.support.publisher DATA_DIR
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import duckdb
import orjson

from benchmarks.worlds import settings_of
from ctwa.pseudonym import Pseudonymizer
from ingestion.vault import open_vault


def publish(data_dir: str) -> int:
    """Replace the marts by ones with a lead for each message in the vault; their number."""
    settings = settings_of(data_dir)
    names = Pseudonymizer.from_settings(settings)
    vault = open_vault(settings.vault_url)
    bodies = [body for batch in vault.read_batches(0) for body in batch["body"].to_pylist()]
    vault.close()
    changes = [orjson.loads(body)["entry"][0]["changes"][0]["value"] for body in bodies]
    leads = [(names.phone(change["messages"][0]["from"]),) for change in changes]
    draft = Path(f"{settings.marts_path}.draft")
    draft.unlink(missing_ok=True)
    with duckdb.connect(str(draft)) as marts:
        marts.execute("create table fct_leads (lead_id varchar)")
        if leads:
            marts.executemany("insert into fct_leads values (?)", leads)
    draft.replace(settings.marts_path)
    return len(leads)


if __name__ == "__main__":
    while True:
        publish(sys.argv[1])
        time.sleep(0.1)
