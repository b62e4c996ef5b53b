"""The advertiser of `tests.support.ads`, served for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ctwa.settings import Settings
from tests.support.ads import BRAZIL, ZEALAND, Advertiser, advertiser


@pytest.fixture
def shop(make_settings: Callable[..., Settings]) -> Iterator[Advertiser]:
    """One account in São Paulo."""
    with advertiser(make_settings) as found:
        yield found


@pytest.fixture
def both(make_settings: Callable[..., Settings]) -> Iterator[Advertiser]:
    """Two accounts, in São Paulo and Auckland."""
    with advertiser(make_settings, accounts=(BRAZIL, ZEALAND)) as found:
        yield found
