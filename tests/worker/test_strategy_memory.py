"""What strategies hold: refused before anything is computed where it is too much, and no more than was said."""

import re
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from api_schemas.strategies import checked_options
from ntk import distances, infinite
from ntk.acquisition import bordered
from ntk.acquisition.lookahead import model
from store.strategies import TILE_BYTES
from store.tables import Json
from tests.worker import windows
from tests.worker.windows import EVERY, NAMES, Case, pick
from worker.errors import JobError
from worker.strategies import choose as module
from worker.strategies.choose import STRATEGIES, fits

Tensor = torch.Tensor
plain = pytest.mark.parametrize(
    ("strategy", "options"), [(name, checked_options(name, {})) for name in STRATEGIES], ids=[*STRATEGIES]
)
each = pytest.mark.parametrize(("strategy", "options"), EVERY, ids=NAMES)
SIZE, COUNT = 600, 3
# Tiles are made so much smaller that a square of candidates, held by mistake, stands out beside them.
SMALLER = 64


def needed(case: Case, strategy: str, options: Json, count: int) -> int:
    """The fewest bytes with which nothing is refused."""

    def fit(size: int) -> bool:
        with suppress(JobError):
            fits(window, strategy, options, count, size)
            return True
        return False

    window = case.window()
    return bisect_left(range(1 << 40), True, key=fit)


@plain
def test_what_does_not_fit_is_refused_first(strategy: str, options: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of candidates that the refusal names fits, and one more would not."""
    case = windows.case(others=0)
    between = (needed(case.only(9), strategy, options, 4) + needed(case, strategy, options, 4)) // 2
    check_runs: list[str] = []
    with monkeypatch.context() as patched:
        patched.setitem(STRATEGIES, strategy, lambda *_: pytest.fail("it was run"))
        with pytest.raises(JobError) as refusal:
            pick(case.window(), strategy, options, memory_bytes=between, check=lambda: check_runs.append("check"))
    assert refusal.value.code == "too_large"
    assert not check_runs
    named = re.search(r"a window of (\d+) candidates would fit", str(refusal.value))
    assert named, str(refusal.value)
    would = int(named[1])
    assert 9 <= would < len(case.candidates)
    windows.check(
        pick(case.only(would).window(), strategy, options, memory_bytes=between),
        torch.ones(would, dtype=torch.bool),
        4,
    )
    with pytest.raises(JobError, match=f"a window of {would} candidates would fit"):
        pick(case.only(would + 1).window(), strategy, options, memory_bytes=between)


@plain
def test_where_nothing_fits_it_says_so(strategy: str, options: Json) -> None:
    with pytest.raises(JobError, match="no window of this project would fit"):
        pick(windows.case().window(), strategy, options, memory_bytes=1)


@cache
def large(labeled: int) -> Case:
    """A larger window, all the rest candidates; the kernel is that of random features, which is quicker to make."""
    small = windows.case(candidates=4)
    generator = torch.Generator().manual_seed(0)
    phi = torch.randn((SIZE, 60), generator=generator, dtype=torch.float64)
    x = torch.randn((SIZE, 5), generator=generator, dtype=torch.float64)
    return Case(
        x=x,
        module=small.module,
        gram=phi @ phi.mT,
        outputs=small.module(x).detach(),
        keys=torch.randperm(SIZE, generator=generator),
        labeled=range(labeled),
        labels=[k % 3 for k in range(labeled)],
        candidates=range(labeled, SIZE),
    )


@pytest.fixture
def smaller_tiles(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tiles, and the bytes of one as formulas have it, smaller by the same factor."""
    if strategy == "ll4al":
        return  # All it needs is a pass of the network, which is by batches of items and not by tiles.
    for owner, name in (
        (model, "TILE_ENTRIES"),
        (bordered, "TILE_ENTRIES"),
        (distances, "_TILE_ENTRIES"),
        (infinite, "TILE_ENTRIES"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name) // SMALLER)
    monkeypatch.setattr(module, "TILE_BYTES", TILE_BYTES // SMALLER)


def peak(run: Callable[[], object]) -> int:
    """The most bytes that tensors made by a call held at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def test_the_peak_is_measured() -> None:
    def run() -> None:
        one = torch.ones(1000, dtype=torch.float64)
        (one[:, None] * one).sum()
        (one[:500, None] * one).sum()

    assert 8e6 <= peak(run) < 8.1e6


def check_peak(strategy: str, options: Json, labeled: int) -> None:
    window = large(labeled).window()
    said = needed(large(labeled), strategy, options, COUNT)
    found = peak(lambda: pick(window, strategy, options, COUNT))
    assert found <= said, f"{found} bytes were held, and {said} were named"


@each
def test_memory_stays_within_the_formula(strategy: str, options: Json, smaller_tiles: None) -> None:
    check_peak(strategy, options, 40)


@plain
def test_memory_stays_within_the_formula_with_many_labels(strategy: str, options: Json, smaller_tiles: None) -> None:
    check_peak(strategy, options, 400)
