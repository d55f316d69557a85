"""The label-efficiency benchmark on a problem of a few seconds, and its page on made-up runs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.curves import Run
from benchmarks.label_efficiency import report
from benchmarks.label_efficiency.arena import Arena
from benchmarks.label_efficiency.settings import ENTRIES, SETTINGS, Entry, entries
from store.strategies import STRATEGIES
from worker.training.options import TrainOptions

WINE = replace(SETTINGS[2], counts=(4, 6, 9), window=40, training=TrainOptions(steps=10))


def test_every_strategy_takes_part() -> None:
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names)
    assert {entry.strategy for entry in ENTRIES if not entry.peer} == STRATEGIES.keys() | {"auto"}
    assert all(":" in entry.name for entry in ENTRIES if entry.peer)
    for setting in SETTINGS:
        assert setting.only <= set(names)
        assert not [entry for entry in entries(setting) if setting.counts[0] == 0 and not entry.from_nothing]


@pytest.mark.parametrize("name", ["mlmoc, label by label, noise 0.3", "albl", "ll4al", "auto"])
def test_rows_begin_alike_and_gain_labels(name: str) -> None:
    (entry,) = (entry for entry in ENTRIES if entry.name == name)
    run = Arena(WINE, 0).run(entry, None)
    assert run.labels == [4, 6, 9]
    assert run.seconds_per_pick > 0
    random = Entry("random", "random", loss_prediction=entry.loss_prediction)
    assert run.accuracies[0] == Arena(WINE, 0).run(random, None).accuracies[0]


def test_rounds_of_all_strategies_meet_the_same_items() -> None:
    arena = Arena(WINE, 3)
    first = arena._first_labels()
    assert first == Arena(WINE, 3)._first_labels() != Arena(WINE, 4)._first_labels()
    window = arena._window(first, 0)
    assert len(window) == 40
    assert not set(window) & set(first)
    # Labels only take items away from the order that all share.
    fewer = arena._window([*first, window[0]], 0)
    assert fewer[:-1] == window[1:]


def test_a_network_from_nothing_is_measured_from_its_first_labels() -> None:
    run = Arena(replace(WINE, counts=(0, 4, 8)), 0).run(Entry("typiclust", "typiclust"), None)
    assert run.labels == [4, 8]


def made_up() -> Iterator[Run]:
    names = ["random", "margin", "mlmoc, label by label", "skactiveml:badge", "small-text:bald"]
    for dataset, model in (("wine", "embedding:mlp"), ("digits", "mlp")):
        for seed in range(4):
            for k, name in enumerate(names):
                low = 0.5 + 0.05 * k + 0.001 * seed
                yield Run(dataset, model, name, seed, [4, 6, 8], [0.5, low, low + 0.1], 0.001 * (k + 1))


def test_the_page_has_all_that_is_known(tmp_path: Path) -> None:
    runs = list(made_up())
    short = Run("digits", "mlp", "random", 9, [4, 6, 8], [0.5, 0.5, 0.5], 0.1)
    page, pictures = tmp_path / "page.md", tmp_path / "pictures"
    report.write([*runs, short], ["digits, mlp; small-text:bald:: too slow"], page, pictures)
    text = page.read_text()
    # A seed that only some strategies have is left out.
    assert text.count("4 seeds") == 2
    areas = report.complete(runs, SETTINGS[0])
    assert (
        report.best_peer({name: [run.accuracies[1] for run in own] for name, own in areas.items()}) == "small-text:bald"
    )
    lines = [line for line in text.splitlines() if line.startswith("| small-text:bald")]
    assert lines[0].startswith("| small-text:bald | 0.6761 ± 0.0005 | 0.8015 ± 0.0006 | ")
    assert "| mlmoc, label by label | small-text:bald | -0.0750 ± 0.0000 | 0, 0, 4 |" in text
    assert "- digits, mlp; small-text:bald: too slow" in text
    shown = {path.name for path in pictures.iterdir()}
    assert shown == {"digits-mlp.png", "wine-embedding-mlp.png", "ranks.png"}
    assert all(f"]({pictures.name}/{name})" in text for name in shown)
    assert report.absent(runs, 1) == sum(len(entries(setting)) for setting in SETTINGS) - 10
