"""A setting of the attribution rules stands in one place: all else follows from its field."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import cast

import pytest

from commands.doctor import installation
from comparison.sides import differing_rules, in_words, parse_rules
from ctwa.setting_types import rule, rules_of
from ctwa.settings import PROJECT_DIR, RULES, Settings, load_settings, name_of
from docs.generate import rules_table
from tests.support.warehouse import DbtFailedError, parsed_manifest, run_dbt


def _with_one_more() -> type[Settings]:
    """The settings with the field that CONTRIBUTING shows, added as a developer would."""
    text = (PROJECT_DIR / "CONTRIBUTING.md").read_text()
    [field] = re.findall(r"```python\n(patience_days.*?)```", text, re.DOTALL)
    names = {"Settings": Settings, "rule": rule}
    exec("class WithOneMore(Settings):\n" + textwrap.indent(field, "    "), names)
    return cast(type[Settings], names["WithOneMore"])


WithOneMore = _with_one_more()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("ctwa.settings.Settings", WithOneMore)
    monkeypatch.setattr("docs.generate.Settings", WithOneMore)
    monkeypatch.setitem(RULES, "patience_days", rules_of(WithOneMore)["patience_days"])
    monkeypatch.setenv("CTWA_PATIENCE_DAYS", "9")
    return load_settings(_env_file=None, data_dir=tmp_path)


def test_a_rule_is_read_from_the_environment_and_rebuilds_the_warehouse(settings: Settings) -> None:
    assert settings.rules["patience_days"] == "9"
    assert "patience_days=9" in settings.rules_text


def compiled(settings: Settings, sql: str) -> str:
    arguments = ["compile", "--inline", sql, "--no-introspect"]
    done = run_dbt(settings, arguments, manifest=parsed_manifest())
    return str(done.result.results[0].node.compiled_code)  # type: ignore[union-attr]


def test_a_rule_reaches_the_models_and_has_no_other_default(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "select {{ rule('patience_days') + 1 }} as it, '{{ rule('first_touch') }}' as word"
    assert compiled(settings, sql) == "select 10 as it, 'any' as word"
    # Nobody builds marts by rules of their own because the settings did not come along.
    monkeypatch.delenv("CTWA_PATIENCE_DAYS")
    monkeypatch.delitem(RULES, "patience_days")
    with pytest.raises(DbtFailedError, match="inline query"):
        compiled(settings, sql)


def test_doctor_names_rules_that_are_not_at_their_default(settings: Settings) -> None:
    [found] = installation.rules(settings)
    assert found.found == "patience_days=9 (default 3); the others by default"
    [found] = installation.rules(settings.model_copy(update={"patience_days": 3}))
    assert found.found == "all by default"


def test_diff_rules_takes_it_and_has_words_for_it(settings: Settings) -> None:
    sides = [parse_rules(spec, settings) for spec in ("current", "patience_days=5")]
    assert in_words(differing_rules(*sides)) == "Waits for 5 instead of 9 days"


def test_the_docs_list_it(settings: Settings) -> None:
    line = "| `CTWA_PATIENCE_DAYS` | `3` | longer: more patience | late answers count |"
    assert line in rules_table().splitlines()


def test_env_example_shows_the_default_of_every_rule() -> None:
    text = (PROJECT_DIR / ".env.example").read_text()
    for name in RULES:
        [shown] = re.findall(rf"^{name_of(name)}=(.*)$", text, re.MULTILINE)
        assert shown == str(Settings.model_fields[name].default), name
