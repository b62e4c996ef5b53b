"""A small dbt project and envelopes for it: real Dagster, real dbt, little to build."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings, load_settings
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from tests.support.kept import WAIT_SECONDS, kept

_MACROS = ("generate_schema_name", "settings", "adapter/faults")
_PROJECT = """
name: ctwa
version: "0.1.0"
config-version: 2
profile: ctwa
model-paths: ["dbt_project/models"]
macro-paths: ["dbt_project/macros"]
test-paths: ["dbt_project/tests"]
seed-paths: ["dbt_project/seeds"]
models:
  ctwa:
    staging: {+schema: staging, +materialized: view, +meta: {dagster: {group: staging}}}
    marts: {+schema: marts, +materialized: table, +meta: {dagster: {group: marts}}}
    activation: {+schema: activation, +meta: {dagster: {group: activation}}}
"""

_SOURCES = """
version: 2
sources:
  - name: event_log
    config:
      meta:
        external_location: >-
          read_parquet('{{ env_var("CTWA_LAKE_PATH", "data/lake") }}/event_log/{name}/*.parquet',
          union_by_name = true)
    tables: [{name: envelopes, description: One row per envelope.}]
  - name: meta_ads
    config:
      meta:
        external_location: >-
          read_parquet('{{ env_var("CTWA_LAKE_PATH", "data/lake") }}/meta_ads/{name}/*.parquet',
          union_by_name = true)
    tables: [{name: ads, description: One row per ad.}]
  - name: google_ads
    config:
      meta:
        external_location: >-
          read_parquet('{{ env_var("CTWA_LAKE_PATH", "data/lake") }}/google_ads/{name}/*.parquet',
          union_by_name = true)
    tables: [{name: spend_rows, description: One row per cost.}]
models:
  - name: stg_event_log__envelopes
    description: One row per envelope.
"""

_MARTS = """
version: 2
models:
  - name: fct_leads
    description: One row per envelope, for want of leads.
    columns:
      - name: seq
        data_type: bigint
      - name: as_of
        data_type: date
      - name: channel
        data_type: varchar
        constraints:
          - type: not_null
          - type: check
            expression: channel in ('direct', 'outbound')
      - name: row_key
        data_type: bigint
    data_tests:
      - sound_rows:
          name: sound_rows_fct_leads
          arguments:
            grain: [row_key]
  - name: fct_touches
    description: The rule's version.
"""

# What a test turns while it runs, without another version of the code: the name of an empty file.
_KNOB = """
{% macro knob(name, otherwise) -%}
    (select coalesce(max(regexp_extract(knobs.file, '[^-]*$')), {{ otherwise }})
    from glob('{{ env_var("CTWA_LAKE_PATH") }}-knobs/{{ name }}-*') as knobs)
{%- endmacro %}

{% macro number(name, otherwise) -%}
    cast({{ knob(name, "'" ~ otherwise ~ "'") }} as bigint)
{%- endmacro %}
"""

_SLOW = """
select '{{ env_var("CTWA_TEST_VERSION", "1") }}' as rule_version, (
    -- Without an envelope there is nothing to do: so dbt compiles it in no time.
    select sum(hash(a.range, b.seq) % 2)
    from {{ ref('stg_event_log__envelopes') }} as b
    cross join (select {{ number('work', 1) }} as up_to) as work
    cross join range(work.up_to) as a
) as work, (select count(*) from {{ source('meta_ads', 'ads') }}) as ads,
    (select sum(spend) from {{ source('google_ads', 'spend_rows') }}) as spend
"""

_NOTHING_TO_TELL = """
select
    '' as conversion_event_id, '' as lead_id, 'won' as funnel_stage, '' as occurrence,
    '' as outcome_key, now() as occurred_at, 1.0 as value, 'BRL' as currency, '' as ctwa_clid,
    '' as waba_id, '' as leadgen_id, '' as page_id, '' as phone_key, '' as bsuid_key,
    '' as email_key, cast(null as varchar) as ineligible_reason
where false
"""

_NO_LEADS = """
select
    '' as lead_id, '' as source, '' as channel, '' as basis, '' as campaign_id,
    '' as campaign_name, '' as adset_id, '' as adset_name, '' as ad_id, '' as ad_name,
    '' as headline, now() as first_touch_at, false as is_excluded, false as is_erased,
    0 as evidence_seq, '' as phone_key, '' as bsuid_key, '' as email_key, '' as web_lead_key
where false
"""

_FILES = {
    "dbt_project.yml": _PROJECT,
    "dbt_project/macros/knob.sql": _KNOB,
    "dbt_project/models/staging/_sources.yml": _SOURCES,
    "dbt_project/models/staging/stg_event_log__envelopes.sql": (
        "select * from {{ source('event_log', 'envelopes') }}\n"
    ),
    "dbt_project/models/marts/_marts.yml": _MARTS,
    "dbt_project/models/marts/fct_leads.sql": (
        "{{ config(materialized='incremental', unique_key='seq', on_schema_change='fail',"
        " contract={'enforced': true}) }}\n"
        "select seq, {{ as_of() }} as as_of,"
        # The next channel, from an envelope on; and a key for all from an envelope on.
        " case when seq <= {{ number('channels', 1000000) }} then 'direct'"
        " else {{ knob('channel', 'null') }} end as channel,"
        " least(seq, {{ number('keys', 1000000) }}) as row_key"
        " from {{ ref('stg_event_log__envelopes') }}\n"
        "{% if is_incremental() %}"
        "where seq > (select coalesce(max(seq), 0) from {{ this }}){% endif %}\n"
    ),
    "dbt_project/models/marts/fct_touches.sql": _SLOW,
    # Nothing to tell Meta or the CRM; every run looks.
    "dbt_project/models/activation/conversion_outbox.sql": _NOTHING_TO_TELL,
    "dbt_project/models/activation/crm_outbox.sql": _NO_LEADS,
    "dbt_project/models/activation/crm_records.sql": (
        "select '' as lead_id, '' as crm_record_key, 0 as seq where false\n"
    ),
    # Fails as soon as there are more envelopes than the limit.
    "dbt_project/tests/assert_few_leads.sql": (
        "select count(*) as leads from {{ ref('fct_leads') }}\n"
        "having count(*) > {{ number('limit', 1000000) }}\n"
    ),
    # Warns of each envelope behind `stages`, and keeps what it found.
    "dbt_project/tests/seqs_are_mapped.sql": (
        "{{ config(severity='warn', store_failures=true, store_failures_as='view',"
        " schema='checks') }}\n"
        "select seq, 'a|b' as stage from {{ ref('fct_leads') }}\n"
        "where seq > {{ number('stages', 1000000) }}\n"
    ),
}


@pytest.fixture(scope="session")
def _prepared() -> tuple[Path, Path]:
    """A project, and a data directory with manifest, plan and Dagster's tables: made once for each
    version of the code, for all processes."""
    from orchestration.dbt_manifest import manifest_path
    from orchestration.instance import open_instance
    from orchestration.plan import plan_key
    from orchestration.plan_compile import plan_of

    root = kept("orchestration")
    with refresh_lock(root / "made.lock", wait_seconds=WAIT_SECONDS):
        project = _write_project(root / "project")
        settings = load_settings(_env_file=None, data_dir=root / "data")
        made, key = root / "made", plan_key(settings, project)
        if not made.exists() or made.read_text() != key:
            made.unlink(missing_ok=True)
            shutil.rmtree(settings.data_dir, ignore_errors=True)
            with mock.patch.dict(os.environ):
                manifest_path(settings, project)
                plan_of(settings, project)
                with open_instance(settings) as instance:
                    instance.get_runs(limit=1)
            made.write_text(key)
    return project, settings.data_dir


@pytest.fixture
def project(_prepared: tuple[Path, Path], settings: Settings) -> Path:
    """The project directory; this test's own data directory knows its manifest already."""
    root, data = _prepared
    shutil.copytree(data, settings.data_dir, dirs_exist_ok=True)
    return root


def _write_project(root: Path) -> Path:
    """Only what differs: another process may have the project in use."""
    macros, generic = "dbt_project/macros", "dbt_project/tests/generic"
    own = ["profiles.yml", *(f"{macros}/{n}.sql" for n in _MACROS)]
    own += [f"{generic}/{path.name}" for path in (PROJECT_DIR / generic).iterdir()]
    wanted = {name: text.lstrip("\n") for name, text in _FILES.items()}
    wanted |= {name: (PROJECT_DIR / name).read_text() for name in own}
    for path in root.rglob("*"):
        if path.is_file() and str(path.relative_to(root)) not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = root / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


@pytest.fixture
def turn(settings: Settings) -> Callable[[str, object], None]:
    """Turn a knob of the small project's models to a value; None turns it back."""
    folder = Path(f"{settings.lake_url}-knobs")

    def to(name: str, value: object) -> None:
        for file in folder.glob(f"{name}-*"):
            file.unlink()
        if value is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}-{value}").touch()

    return to


@pytest.fixture
def append(settings: Settings) -> Callable[[int], None]:
    """Put so many small envelopes into the vault."""

    def put(count: int) -> None:
        vault = open_vault(settings.vault_url)
        now = time.time_ns() // 1000
        body = b'{"object": "whatsapp_business_account", "entry": []}'
        vault.append([NewEnvelope(now + i, "whatsapp", body) for i in range(count)])
        vault.close()

    return put
