"""What every strategy owes whoever asks: valid picks, the same for the same seed, whatever order items are kept in."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from api_schemas.strategies import checked_options
from store.strategies import STRATEGIES as DESCRIBED
from store.tables import Json
from tests.worker import windows
from tests.worker.windows import EVERY, NAMES, SITUATIONS, check, contents_of, keys_of, pick
from worker.strategies.choose import STRATEGIES, Choice, Rules
from worker.strategies.window import Window

Tensor = torch.Tensor
each = pytest.mark.parametrize(("strategy", "options"), EVERY, ids=NAMES)


def odd(window: Window) -> Tensor:
    """(m,) two of three candidates."""
    return torch.arange(window.posterior.m) % 3 > 0


def state(window: Window) -> dict[str, Tensor]:
    """Copies of all that a strategy could have written to."""
    posterior = window.posterior
    held = {
        "gram": posterior.gram,
        "covariance": posterior.covariance,
        "outputs": posterior.candidate_outputs,
        "column sums": posterior.column_l1,
        "candidates": posterior.candidates,
        "labeled": posterior.labeled,
        "labels": posterior.labels,
        "factor": posterior.factor.solve(torch.eye(posterior.n, dtype=torch.float64)),
        "weights": posterior.alpha,
        "inverse diagonal": posterior.inverse_diagonal,
        "network outputs": window.network_outputs,
        "keys": window.order,
        "items": window.items(range(posterior.size))[0 : posterior.size],
        **{f"module {name}": tensor for name, tensor in window.module.state_dict().items()},
    }
    return {name: tensor.clone() for name, tensor in held.items()}


def test_every_strategy_is_described_and_has_options() -> None:
    assert STRATEGIES.keys() == DESCRIBED.keys()
    assert {strategy for strategy, _ in EVERY} == STRATEGIES.keys()
    assert len(set(NAMES)) == len(NAMES)
    assert {"gp features=penultimate", "mlmoc reference=network", "badge partitions=3"} <= set(NAMES)


@each
@pytest.mark.parametrize("situation", SITUATIONS)
def test_picks_are_valid(situation: str, strategy: str, options: Json) -> None:
    window = SITUATIONS[situation]().window()
    check(pick(window, strategy, options), windows.everything(window), 4)
    assert not set(window.posterior.candidates.tolist()) & set(window.posterior.labeled.tolist())


@each
def test_only_eligible_candidates_are_picked(strategy: str, options: Json) -> None:
    window = windows.case().window()
    check(pick(window, strategy, options, count=6, eligible=odd(window)), odd(window), 6)


@each
@pytest.mark.parametrize("situation", ["vectors", "copies of one item"])
def test_one_pick(situation: str, strategy: str, options: Json) -> None:
    window = SITUATIONS[situation]().window()
    check(pick(window, strategy, options, count=1, eligible=odd(window)), odd(window), 1)


@each
@pytest.mark.parametrize("situation", ["copies of one item", "no labels"])
def test_more_than_there_are(situation: str, strategy: str, options: Json) -> None:
    """All eligible candidates come back when more are asked for."""
    window = SITUATIONS[situation]().window()
    check(pick(window, strategy, options, count=1000, eligible=odd(window)), odd(window), 1000)


@each
def test_a_used_up_pool_gives_nothing(strategy: str, options: Json) -> None:
    """No candidate is eligible, with labels and without, or there is none at all."""
    for case in (windows.case(), windows.case(labeled=0), windows.case(candidates=0)):
        window = case.window()
        nobody = torch.zeros(window.posterior.m, dtype=torch.bool)
        for share in (0.0, 0.5):
            check(pick(window, strategy, options, eligible=nobody, rules=Rules(random_share=share)), nobody, 4)


@each
def test_the_seed_decides(strategy: str, options: Json) -> None:
    """Two windows made alike and one seed give the same; random numbers of the process are neither used nor moved."""
    found = []
    for elsewhere in (1, 2):
        torch.manual_seed(elsewhere)
        np.random.seed(elsewhere)
        before = torch.get_rng_state()
        one, other = torch.rand(1), np.random.random()
        torch.set_rng_state(before)
        np.random.seed(elsewhere)
        window = SITUATIONS["dropout"]().window()
        choice = pick(window, strategy, options, seed=11)
        assert (torch.rand(1), np.random.random()) == (one, other)
        found.append((choice.picks.indices.tolist(), choice.picks.scores.tolist(), choice.picks.diagnostics))
    assert found[0] == found[1]
    again = pick(window, strategy, options, seed=11)
    assert (again.picks.indices.tolist(), again.picks.scores.tolist(), again.picks.diagnostics) == found[1]
    for seed in range(3):
        check(pick(window, strategy, options, seed=seed), windows.everything(window), 4)


@pytest.mark.parametrize("strategy", ["random", "npc", "badge", "albl", "bald"])
def test_seeds_differ(strategy: str) -> None:
    window = windows.case().window()
    options = checked_options(strategy, {"exploration": 0.5} if strategy == "albl" else {})
    assert len({tuple(keys_of(window, pick(window, strategy, options, seed=seed))) for seed in range(8)}) > 1


@each
@pytest.mark.parametrize("situation", ["vectors", "images", "no labels", "pairs of copies"])
def test_the_order_that_items_are_kept_in_changes_nothing(situation: str, strategy: str, options: Json) -> None:
    """Between copies of one item rounding may decide: they are the same pick."""
    case = SITUATIONS[situation]()
    named: Callable[[Window, Choice], list[Any]] = contents_of if "copies" in situation else keys_of
    barred = set(case.window().keys[::5].tolist())
    found = []
    for kept in (case, case.shuffled(1), case.shuffled(2)):
        window = kept.window()
        eligible = torch.tensor([key not in barred for key in window.keys.tolist()])
        choice = pick(window, strategy, options, count=5, eligible=eligible)
        found.append((named(window, choice), choice.picks.scores.tolist()))
    for picked, scores in found[1:]:
        assert picked == found[0][0]
        assert scores == pytest.approx(found[0][1], rel=1e-6, abs=1e-7)


@each
def test_nothing_that_is_read_is_written_to(strategy: str, options: Json) -> None:
    """Bit for bit: posterior, network, items and what the caller passed."""
    case = SITUATIONS["dropout"]()
    window, eligible = case.window(), torch.arange(28) % 2 > 0
    weights = {"coreset": 0.5, "least_confidence": 1.0}
    memory: Json = {"weights": weights, "history": [], "waiting": {}, "learned": 3}
    given = deepcopy(options)
    told, before, mask = deepcopy(memory), state(window), eligible.clone()
    pick(window, strategy, options, eligible=eligible, memory=memory)
    assert torch.equal(eligible, mask)
    assert options == given
    assert memory == told
    after = state(window)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert torch.equal(case.gram, SITUATIONS["dropout"]().window().posterior.gram)
