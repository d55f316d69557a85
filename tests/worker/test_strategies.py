"""Every strategy through the service."""

import pytest

from store.strategies import STRATEGIES
from tests.api import Api
from tests.worker.test_suggest import items, ready  # noqa: F401
from worker.context import Context

NAMES = sorted(set(STRATEGIES) - {"ll4al"})


@pytest.mark.parametrize("strategy", NAMES)
def test_every_strategy_answers(strategy: str, api: Api, ready: Context) -> None:  # noqa: F811
    api.label("item-3", "a")
    api.label("item-4", "b")
    first = api.suggest(count=4, strategy=strategy, seed=3)
    assert first.status_code == 200, first.text
    found = items(first.json())
    assert len(set(found)) == 4
    assert not {"item-3", "item-4"} & set(found)
