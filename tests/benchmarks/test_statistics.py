"""Statistics against scipy and cases worked by hand; the file of runs; figures of a curve; other libraries."""

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from matplotlib import image
from scipy import special, stats

from benchmarks import curves, statistics
from benchmarks.curves import Run
from benchmarks.peers.client import PYTHON, PeerError, Peers
from benchmarks.peers.problem import load, recover_head

NAMES = ["a", "b", "c", "d"]


def values(seed: int, blocks: int = 12, strategies: int = 4, *, decimals: int = 8) -> statistics.Array:
    drawn = np.random.default_rng(seed).normal(size=(blocks, strategies)) + 0.3 * np.arange(strategies)
    return np.round(drawn, decimals).astype(np.float64)


def run(strategy: str = "margin", seed: int = 0, **changes: object) -> Run:
    given = {"dataset": "digits", "model": "mlp", "labels": [10, 20, 40], "accuracies": [0.5, 0.7, 0.8]}
    return Run(**{**given, "strategy": strategy, "seed": seed, "seconds_per_pick": 0.1, **changes})  # type: ignore[arg-type]


# Whole numbers make ties within blocks.
@pytest.mark.parametrize("decimals", [8, 0])
@pytest.mark.parametrize("seed", range(5))
def test_friedman_is_scipys(seed: int, decimals: int) -> None:
    array = values(seed, decimals=decimals)
    assert (decimals == 0) == any(len(set(row)) < 4 for row in array.tolist())
    found, expected = statistics.friedman(array), stats.friedmanchisquare(*array.T)
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.average_ranks.sum() == pytest.approx(4 * 5 / 2)


def test_ranks_by_hand() -> None:
    array = [[0.9, 0.8, 0.8], [0.1, 0.2, 0.3]]
    assert statistics.ranks(array).tolist() == [[1, 2.5, 2.5], [3, 2, 1]]
    assert statistics.ranks(array, higher_is_better=False).tolist() == [[3, 1.5, 1.5], [1, 2, 3]]
    # Ranks 1, 2, 3 in each of three blocks: χ² is at its greatest, B (S − 1).
    found = statistics.friedman([[3, 2, 1]] * 3)
    assert (found.statistic, *found.average_ranks) == pytest.approx((6, 1, 2, 3))


def test_all_tied_says_nothing() -> None:
    found = statistics.friedman(np.full((4, 3), 0.5))
    assert (found.statistic, found.p_value, found.average_ranks.tolist()) == (0, 1, [2, 2, 2])
    one = statistics.compare_with_reference(np.full((4, 2), 0.5), ["a", "b"], "b")[0]
    assert one == statistics.Comparison("a", 0, 0, wins=0, ties=4, losses=0, p_value=1, adjusted_p_value=1)


# Table 5(a) of the source: q at 5 %.
@pytest.mark.parametrize(("strategies", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (10, 3.164)])
def test_critical_difference_is_of_the_table(strategies: int, quantile: float) -> None:
    expected = quantile * np.sqrt(strategies * (strategies + 1) / (6 * 14))
    assert statistics.nemenyi_critical_difference(strategies, 14) == pytest.approx(expected, rel=5e-4)


def test_holm_by_hand() -> None:
    # 0.01·4, 0.02·3, 0.03·2 and 0.9·1: none falls below the one before.
    assert statistics.holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert statistics.holm([0.5, 0.6]).tolist() == [1, 1]
    with pytest.raises(ValueError, match="between 0 and 1"):
        statistics.holm([0.5, np.nan])


def exact_wilcoxon(differences: statistics.Array) -> float:
    """Two-sided p-value by all 2^B signs; no zeros, no ties."""
    magnitudes = stats.rankdata(abs(differences))
    total = magnitudes.sum()
    observed = abs(magnitudes[differences > 0].sum() - total / 2)
    sums = [magnitudes @ np.array(signs) for signs in itertools.product([0, 1], repeat=len(differences))]
    return float(np.mean([abs(each - total / 2) >= observed - 1e-9 for each in sums]))


@pytest.mark.parametrize("seed", range(3))
def test_comparisons_with_a_reference(seed: int) -> None:
    array = values(seed, blocks=9)
    found = statistics.compare_with_reference(array, NAMES, "c")
    assert [each.strategy for each in found] == ["a", "b", "d"]
    for each in found:
        differences = array[:, 2] - array[:, NAMES.index(each.strategy)]
        assert each.p_value == pytest.approx(exact_wilcoxon(differences))
        expected = (differences.mean(), stats.sem(differences))
        assert (each.mean_difference, each.standard_error) == pytest.approx(expected)
        assert (each.wins, each.ties, each.losses) == ((differences > 0).sum(), 0, (differences < 0).sum())
    assert [each.adjusted_p_value for each in found] == statistics.holm([each.p_value for each in found]).tolist()
    lower = statistics.compare_with_reference(array, NAMES, "c", higher_is_better=False)
    assert [each.wins for each in lower] == [each.losses for each in found]


def test_zero_differences_are_split_not_dropped() -> None:
    array = np.zeros((20, 2))
    array[:6, 0] = np.arange(1, 7)
    dropped = stats.wilcoxon(array[:6, 0]).pvalue
    split = statistics.compare_with_reference(array, ["a", "b"], "a")[0]
    assert (split.wins, split.ties) == (6, 14)
    assert split.p_value > dropped


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: statistics.friedman([[1.0, 2.0, 3.0], [1.0, np.nan, 3.0]]),
            "strategy 1 has no finite value in block 1",
        ),
        (lambda: statistics.friedman([[1, 2], [2, 1]]), "3 strategies"),
        (lambda: statistics.ranks([1, 2, 3]), r"not of shape \(3,\)"),
        (lambda: statistics.paired_differences([[1, 2]], 0), r"2 block\(s\)"),
        (lambda: statistics.paired_differences([[1, 2], [1, 2]], -1), "from 0 to 1, not -1"),
        (lambda: statistics.compare_with_reference([[1, 2], [2, 1]], ["a", "b"], "z"), "'z' is none"),
        (lambda: statistics.compare_with_reference([[1, 2], [2, 1]], ["a", "a"], "a"), "2 different strategies"),
        (lambda: statistics.nemenyi_critical_difference(1, 5), "not 1 and 5"),
        (lambda: statistics.nemenyi_critical_difference(3, 5, 5), "level"),
        (lambda: statistics.block_table({}, "seeds"), "no scores"),
    ],
)
def test_refusals(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_tables_of_seeds_and_means() -> None:
    rows = {("x", 1): [0.3, 0.7], ("x", 0): [0.1, 0.5], ("w", 0): [0.8, 0.9]}  # in no sorted order
    scores = {(dataset, "mlp", seed, "ab"[k]): row[k] for (dataset, seed), row in rows.items() for k in (1, 0)}
    seeds = statistics.block_table(scores, "seeds")
    assert (seeds.blocks, seeds.strategies) == ([("w", "mlp", "0"), ("x", "mlp", "0"), ("x", "mlp", "1")], ["a", "b"])
    assert seeds.values.tolist() == list(rows.values())[::-1]
    means = statistics.block_table(scores, "means")
    assert means.blocks == [("w", "mlp"), ("x", "mlp")]
    assert means.values == pytest.approx(np.array([[0.8, 0.9], [0.2, 0.6]]))
    del scores["x", "mlp", 1, "b"]
    for blocks in get_args(statistics.Blocks):
        with pytest.raises(ValueError, match=r"strategy 'b' has no run on x, mlp, seed 1$"):
            statistics.block_table(scores, blocks)


def test_area_and_labels_to_reach() -> None:
    # (0.6 · 10 + 0.75 · 20) / 30
    assert curves.area(run()) == pytest.approx(0.7)
    assert curves.area(run(accuracies=[1, 1, 1])) == 1
    for accuracy, labels in [(0.75, 30), (0.4, 10), (0.8, 40), (0.81, None)]:
        assert curves.labels_to_reach(run(), accuracy) == (labels and pytest.approx(labels))
    assert curves.labels_to_reach(run(accuracies=[0.5, 0.9, 0.6]), 0.7) == pytest.approx(15)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [10, 20]}, "2 label counts for 3"),
        ({"labels": [10, 20, 20]}, "must increase"),
        ({"accuracies": [0.1, 0.2, float("nan")]}, "fractions"),
        ({"accuracies": [50, 60, 70]}, "fractions"),
        ({"seconds_per_pick": -1}, "seconds"),
    ],
)
def test_runs_are_checked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(**changes)  # type: ignore[arg-type]


def test_a_benchmark_goes_on_after_a_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "runs.jsonl"
    assert curves.done(path) == set()
    first, second = run("a"), run("b", seed=3)
    curves.append(path, first)
    with path.open("a") as file:
        file.write(json.dumps({"dataset": "cut short"})[:-4])
    assert curves.read(path) == [first]
    curves.append(path, second)
    assert curves.done(path) == {("digits", "mlp", 0, "a"), ("digits", "mlp", 3, "b")}
    curves.append(path, first)
    with pytest.raises(ValueError, match="line 3 repeats"):
        curves.read(path)
    path.write_text('{"dataset": "x"}\n')
    with pytest.raises(ValueError, match="line 1 is no run"):
        curves.done(path)


def test_mean_curve() -> None:
    found = np.array(curves.mean_curve([run(seed=0), run(seed=1, accuracies=[0.7, 0.7, 1.0])]))
    assert found == pytest.approx(np.array([[10, 20, 40], [0.6, 0.7, 0.9], [0.1, 0, 0.1]]))
    assert curves.mean_curve([run()])[2].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="different label counts"):
        curves.mean_curve([run(), run(seed=1, labels=[10, 20, 30])])


@pytest.mark.parametrize(
    ("heights", "expected"),
    [([0.5, 0.1], [0.5, 0.1]), ([0.5, 0.5, 0.55], [0.5, 0.6, 0.7]), ([0.95, 0.99, 0.97], [0.8, 1, 0.9])],
)
def test_names_of_lines_do_not_overlap(heights: list[float], expected: list[float]) -> None:
    assert curves.spread(heights, 0.1) == pytest.approx(expected)


def test_figures(tmp_path: Path) -> None:
    names = [f"small-text:lightweight_coreset-{k}" for k in range(10)]
    runs = [run(name, seed, model=m, accuracies=[0.5, 0.6, 0.7]) for name in names for seed in (0, 1) for m in "xy"]
    paths = curves.draw_all_curves(runs, names[:8], tmp_path)
    assert [path.name for path in paths] == ["digits-x.png", "digits-y.png"]
    curves.draw_ranks(np.arange(20).reshape(10, 2), names, ["digits", "letters"], tmp_path / "ranks.png")
    for path in [*paths, tmp_path / "ranks.png"]:
        pixels = image.imread(path)
        assert pixels.shape[1] <= 1400
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 20
    for some, highlighted, message in [(runs[::2], names[:9], "at most 8"), (runs, names[:8], "one dataset and model")]:
        with pytest.raises(ValueError, match=message):
            curves.draw_curves(some, highlighted, tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"not \(2, 2\)"):
        curves.draw_ranks(np.ones((2, 2)), NAMES, ["x", "y"], tmp_path / "none.png")


def pool(seed: int = 0, classes: int = 4) -> dict[str, np.ndarray]:
    """30 items: 8 labeled, 20 unlabeled, 2 neither; probabilities are a linear layer's."""
    generator = np.random.default_rng(seed)
    embeddings, order = generator.normal(size=(30, 6)), generator.permutation(30)
    logits = embeddings @ generator.normal(size=(6, classes)) + generator.normal(size=classes)
    arrays = {"embeddings": embeddings, "probabilities": special.softmax(logits, axis=1)}
    indices = {"labeled": order[:8], "labels": np.arange(8) % 3, "unlabeled": order[8:28]}
    return {**arrays, **indices, "inputs": embeddings[:, :3]}


def test_last_layer_is_recovered(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", allow_pickle=False, **pool())
    problem = load(tmp_path / "x.npz", count=3, seed=0)
    head = recover_head(problem)
    assert special.softmax(head.logits(problem.embeddings), axis=1) == pytest.approx(problem.probabilities)
    assert (head.agreement, head.caution) == (1, None)
    assert problem.items([8, 27, 9]) == [problem.unlabeled[k] for k in (0, 19, 1)]
    with pytest.raises(ValueError, match="2 different rows of 3"):
        problem.items([8, 8, 9])


@pytest.mark.parametrize(
    ("changes", "count", "message"),
    [
        ({"labels": np.array([9] * 8)}, 3, "labels are between 0 and 3, not 9"),
        ({"labels": np.arange(3)}, 3, "3 labels for 8"),
        ({"unlabeled": np.arange(30)}, 3, "named twice"),
        ({"inputs": np.ones((5, 2))}, 3, "not of 30, 30 and 5"),
        ({"probabilities": np.full((30, 4), 0.5)}, 3, "sum to 1"),
        ({"embeddings": np.full((30, 4), np.inf)}, 3, "not finite"),
        ({}, 21, "between 1 and 20"),
    ],
)
def test_problems_are_checked(tmp_path: Path, changes: dict[str, Any], count: int, message: str) -> None:
    np.savez(tmp_path / "x.npz", allow_pickle=False, **{**pool(), **changes})
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "x.npz", count, seed=0)


def test_an_environment_that_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"run `make \.venv-peers/\.installed`"):
        Peers(tmp_path / "python")
    with Peers(Path(sys.executable)) as peers:
        assert peers.names() == []
        with pytest.raises(PeerError, match="no strategy 'skactiveml:margin'; there are none"):
            peers.choose("skactiveml:margin", **pool(), count=3, seed=0)


def test_a_process_that_hangs_or_ends(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    with Peers(python, start_timeout=0) as peers:
        with pytest.raises(PeerError, match=r"names: no answer within 0\.2 s"):
            peers.names(timeout=0.2)
        python.write_text("#!/bin/sh\necho broken >&2\n")
        with pytest.raises(PeerError, match="the process ended: broken"):
            peers.names()
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        assert peers.names() == []


@pytest.mark.skipif(not PYTHON.exists(), reason="needs the peers' environment: make .venv-peers/.installed")
def test_every_peer_chooses_unlabeled_items() -> None:
    given = pool()
    with Peers() as peers:
        for name in peers.names():
            chosen = peers.choose(name, **given, count=4, seed=1)
            assert len(set(chosen) & set(given["unlabeled"].tolist())) == len(chosen) == 4, name
            assert peers.choose(name, **given, count=4, seed=1) == chosen, name
        best = np.sort(given["probabilities"], axis=1)
        order = given["unlabeled"][np.argsort((best[:, -1] - best[:, -2])[given["unlabeled"]])]
        for name in ("skactiveml:margin", "small-text:breaking_ties"):
            assert set(peers.choose(name, **given, count=4, seed=0)) == set(order[:4])
        features, known = given["embeddings"], given["labeled"]
        distances = np.linalg.norm(features[given["unlabeled"]][:, None] - features[known], axis=2).min(axis=1)
        farthest = [given["unlabeled"][distances.argmax()]]
        assert peers.choose("skactiveml:core_set", **given, count=1, seed=0) == farthest
