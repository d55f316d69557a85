"""Rules that bind every strategy, and what every strategy owes whoever watches it or wants it to stop."""

from itertools import combinations

import pytest
import torch

from store.tables import Json
from tests.worker import windows
from tests.worker.windows import EVERY, NAMES, check, keys_of, pick
from worker.errors import CancelledError
from worker.strategies.choose import STRATEGIES, Choice, Rules
from worker.strategies.request import Request
from worker.strategies.window import Window

Tensor = torch.Tensor
each = pytest.mark.parametrize(("strategy", "options"), EVERY, ids=NAMES)
# What looks at outputs, or at sums that are kept current, is done before anyone could want to stop it.
AT_ONCE = ("random", "entropy", "margin", "least_confidence", "one_step", "mlmoc batch", "emoc batch")
ONE_BY_ONE = (
    "mlmoc",
    "emoc",
    "eer",
    "infinite_ntk",
    "gp",
    "dynamical",
    "ntkcpl",
    "coreset",
    "badge",
    "albl",
    "typiclust",
)


def counted(calls: list[str], name: str) -> None:
    calls.append(name)


def broken(window: Window, eligible: Tensor, rules: Rules, batch: list[int]) -> bool:
    """Whether a batch of candidates breaks a rule."""
    posterior = window.posterior
    if not all(eligible[k] for k in batch):
        return True
    if rules.per_class is not None:
        predicted = [int(posterior.candidate_outputs[k].argmax()) for k in batch]
        most = rules.per_class if isinstance(rules.per_class, dict) else dict.fromkeys(range(3), rules.per_class)
        if any(predicted.count(y) > limit for y, limit in most.items()):
            return True
    if rules.min_distance is None:
        return False
    K = posterior.gram
    unit = float(K.diagonal().mean()) ** 0.5
    at = [int(posterior.candidates[k]) for k in batch]
    pairs = [*combinations(at, 2), *((a, b) for a in at for b in posterior.labeled.tolist())]
    # A little room for rounding at the border.
    least = rules.min_distance * (1 - 1e-9)
    return any(max(0.0, float(K[a, a] + K[b, b] - 2 * K[a, b])) ** 0.5 / unit < least for a, b in pairs)


@each
@pytest.mark.parametrize(
    "rules",
    [
        Rules(per_class=1),
        Rules(per_class={0: 2, 1: 0}),
        Rules(min_distance=0.9),
        Rules(per_class={2: 1}, min_distance=0.7, random_share=0.5),
    ],
    ids=["one per class", "quotas by class", "apart", "all rules"],
)
def test_rules_hold(rules: Rules, strategy: str, options: Json) -> None:
    """No pick breaks a rule, and a batch is short only where nothing more could join it."""
    window = windows.case(candidates=40).window()
    eligible = torch.arange(40) % 4 > 0
    for count in (3, 20):
        choice = pick(window, strategy, options, count=count, eligible=eligible, rules=rules)
        found = choice.picks.indices.tolist()
        check(choice, eligible, len(found))
        assert 0 < len(found) <= count
        assert not broken(window, eligible, rules, found)
        if len(found) < count:
            rest = [k for k in range(40) if k not in found]
            assert all(broken(window, eligible, rules, [*found, k]) for k in rest)


def test_the_rules_are_felt() -> None:
    """Without them picks would break them: the tests above are about something."""
    window = windows.case(candidates=40).window()
    everyone = windows.everything(window)
    for rules in (Rules(per_class=1), Rules(per_class={0: 2, 1: 0}), Rules(min_distance=0.9)):
        assert broken(window, everyone, rules, pick(window, "random", {}, count=20).picks.indices.tolist())
    near = [k for k in range(40) if broken(window, everyone, Rules(min_distance=0.9), [k])]
    assert 0 < len(near) < 40, "some candidates are near labeled items, and not all"


@each
def test_a_share_is_drawn_at_random(strategy: str, options: Json) -> None:
    window = windows.case().window()
    everyone = windows.everything(window)
    own = pick(window, strategy, options, count=3)
    for share, drawn in ((0.0, 0), (0.5, 3), (1.0, 6)):
        choice = pick(window, strategy, options, count=6, rules=Rules(random_share=share))
        check(choice, everyone, 6)
        assert choice.drawn == drawn
        if share == 0.5:
            assert keys_of(window, choice)[:3] == keys_of(window, own)
    uniform = pick(window, "random", {}, count=6)
    assert keys_of(window, choice) == keys_of(window, uniform), "all at random is what the strategy random does"


def test_a_share_of_one_pick_is_a_chance() -> None:
    """A quarter of a single pick is drawn in about a quarter of the cases."""
    window = windows.case().window()
    drawn = [pick(window, "margin", {}, 1, seed, rules=Rules(random_share=0.25)).drawn for seed in range(400)]
    assert 70 < sum(drawn) < 130


@each
def test_every_pick_is_counted(strategy: str, options: Json) -> None:
    """Progress is as long as the batch, whatever decides it, and `check` comes before anything is picked."""
    window = windows.case().window()
    for count, share in ((5, 0.0), (5, 0.4), (1000, 0.0), (1, 1.0)):
        calls: list[str] = []
        choice = pick(
            window,
            strategy,
            options,
            count,
            rules=Rules(random_share=share),
            on_pick=lambda calls=calls: counted(calls, "pick"),
            check=lambda calls=calls: counted(calls, "check"),
        )
        assert calls.count("pick") == len(choice.picks.indices)
        assert calls[0] == "check"


@each
def test_what_takes_long_can_be_stopped_while_it_runs(strategy: str, options: Json) -> None:
    """A strategy by itself looks up now and then; those that pick one by one count their picks as they make them."""
    window = windows.case("images").window()
    calls: list[str] = []
    allowed = windows.allowed(window)
    request = Request(4, options, allowed, 5, lambda: counted(calls, "pick"), lambda: counted(calls, "check"))
    STRATEGIES[strategy](window, request)
    name = windows.changed(strategy, options)
    if not name.startswith(AT_ONCE):
        assert calls
    if strategy in ONE_BY_ONE and options.get("batch") != "top_k":
        assert calls.count("pick") == 4


@each
@pytest.mark.parametrize("stage", ["check", "first pick", "last random pick"])
def test_what_callbacks_raise_is_passed_on(stage: str, strategy: str, options: Json) -> None:
    """And the window is as good as new afterwards."""
    case = windows.case()
    window = case.window()
    last = {"first pick": 1, "last random pick": 6}.get(stage, 0)
    seen: list[str] = []

    def on_pick() -> None:
        seen.append("pick")
        if len(seen) == last:
            raise CancelledError

    def stop() -> None:
        if stage == "check":
            raise CancelledError

    rules = Rules(random_share=0.5)
    with pytest.raises(CancelledError):
        pick(window, strategy, options, 6, rules=rules, on_pick=on_pick, check=stop)
    assert len(seen) == last

    def outcome(choice: Choice) -> tuple[list[int], list[float]]:
        return choice.picks.indices.tolist(), choice.picks.scores.tolist()

    assert outcome(pick(window, strategy, options, 6)) == outcome(pick(case.window(), strategy, options, 6))
