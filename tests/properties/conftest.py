"""One examination for all properties: its worlds are built once and compared many times."""

from __future__ import annotations

import pytest

from tests.properties.examination import Examination, examine


@pytest.fixture(scope="package")
def examined(tmp_path_factory: pytest.TempPathFactory) -> Examination:
    """Histories under the default rules: hundreds of people, ads and account days."""
    return examine(tmp_path_factory.mktemp("properties"), 120, seed=1)
