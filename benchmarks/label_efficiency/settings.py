"""What is measured: data sets with networks and label counts, and the strategies that compete on them."""

from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.data.base import Dataset
from benchmarks.data.catalogue import DATASETS
from benchmarks.data.encoded import encoded_glyphs62
from worker.training.options import TrainOptions

Options = dict[str, Any]
CACHE = Path(__file__).parents[2] / "build" / "benchmarks"


@dataclass(frozen=True)
class Setting:
    """A problem: at each of `counts` labels the network is trained from its initial weights and measured.

    The first labels are drawn at random, the same for all strategies; counts that start with 0 leave the choice of
    the very first labels to the strategy.
    """

    dataset: str
    model: str  # its name in tables
    architecture: str
    options: Options
    counts: tuple[int, ...]
    pool: int
    held_out: int
    window: int  # candidates compared in a round
    training: TrainOptions = field(default_factory=TrainOptions)
    quick: bool = True  # a minute or two per seed
    only: frozenset[str] = frozenset()  # entries that take part; empty: all that need no more than there is

    @property
    def name(self) -> str:
        """As in the file of runs."""
        return f"{self.dataset}, {self.model}"

    def load(self) -> Dataset:
        """Its items."""
        return _loaded(self.dataset)


@cache
def _loaded(name: str) -> Dataset:
    if name == "encoded_glyphs62":
        return encoded_glyphs62(cache=CACHE / f"{name}.npz")
    return DATASETS[name]()


@dataclass(frozen=True)
class Entry:
    """A row: one of our strategies in batches or one label at a time, or a peer's in batches."""

    name: str
    strategy: str
    options: Options = field(default_factory=dict)
    sequential: bool = False
    peer: bool = False
    loss_prediction: bool = False
    ridge: float = 1e-4  # in units of the kernel's mean diagonal; the service's default
    from_nothing: bool = True  # whether it can choose the very first labels


_FEW = frozenset(
    [
        *("auto", "auto, label by label", "mlmoc", "mlmoc, label by label", "mlmoc, label by label, noise 0.3"),
        *("random", "margin", "badge", "typiclust", "ntkcpl", "npc", "npc, swap"),
        *("skactiveml:badge", "skactiveml:typi_clust", "skactiveml:margin"),
    ]
)
_SOME = _FEW | {
    *("entropy", "least_confidence", "margin, label by label", "emoc", "emoc, label by label", "infinite_ntk"),
    *("coreset", "bald", "egl", "dynamical", "skactiveml:max_herding", "skactiveml:falcun", "skactiveml:drop_query"),
    *("small-text:greedy_coreset", "small-text:badge"),
}
# Every strategy of ours, and of the peers' those that are not the same as another.
_MAIN = _SOME | {
    *("eer", "one_step", "gp", "npc, last layer", "ntkcpl, last layer", "albl", "ll4al", "mlmoc, noise 0.3"),
    *(
        "skactiveml:clue",
        "skactiveml:contrastive_al",
        "skactiveml:prob_cover",
        "small-text:contrastive_active_learning",
    ),
    *("small-text:lightweight_coreset", "small-text:bald"),
}
_digits = partial(Setting, "digits", architecture="mlp", options={"hidden": [128, 128]}, pool=1297, held_out=500)
_table = partial(Setting, model="embedding:mlp", architecture="embedding:mlp", options={"hidden": [64]})
_DIGITS_COUNTS = (20, 30, 40, 60, 80, 110, 150)

SETTINGS = [
    _digits("mlp", counts=_DIGITS_COUNTS, window=500),
    _table("breast_cancer", counts=(6, 10, 16, 24, 36, 52, 76), pool=389, held_out=180, window=400),
    _table("wine", counts=(4, 6, 8, 11, 15, 20, 28), pool=110, held_out=68, window=200),
    _digits("mlp, from nothing", counts=(0, 10, 20, 30, 40), window=500),
    _digits(
        "mlp, cross-entropy",
        counts=_DIGITS_COUNTS,
        window=500,
        training=TrainOptions(loss="cross_entropy"),
        only=_SOME,
    ),
    Setting(
        "glyphs10",
        "cnn",
        architecture="cnn",
        options={},
        counts=(40, 70, 110, 160),
        pool=16_000,
        held_out=2000,
        window=400,
        training=TrainOptions(steps=150),
        only=_MAIN,
        quick=False,
    ),
    Setting(
        "encoded_glyphs62",
        "embedding:mlp",
        architecture="embedding:mlp",
        options={"hidden": [256]},
        counts=(62, 124, 186, 248),
        pool=8000,
        held_out=2000,
        window=400,
        training=TrainOptions(steps=300),
        only=_MAIN,
        quick=False,
    ),
    _digits(
        "mlp, fixmatch",
        counts=(10, 20, 40, 60),
        window=500,
        training=TrainOptions(loss="fixmatch", steps=150, batch_size=32, unlabeled_ratio=3),
        only=_FEW,
        quick=False,
    ),
]

_BATCHES = [
    *("random", "entropy", "margin", "least_confidence", "mlmoc", "emoc", "eer", "one_step", "infinite_ntk", "gp"),
    *("npc", "dynamical", "ntkcpl", "coreset", "badge", "albl", "typiclust", "bald", "egl"),
]
_SEQUENTIAL = ["mlmoc", "emoc", "eer", "margin", "entropy", "least_confidence"]
_PEERS_FROM_NOTHING = [
    *("skactiveml:core_set", "skactiveml:typi_clust", "skactiveml:prob_cover", "skactiveml:max_herding"),
    *("small-text:embedding_kmeans", "small-text:lightweight_coreset"),
]
_PEERS = [
    *("skactiveml:entropy", "skactiveml:least_confident", "skactiveml:margin", "skactiveml:badge", "skactiveml:clue"),
    *("skactiveml:contrastive_al", "skactiveml:drop_query", "skactiveml:falcun", "skactiveml:greedy_bald"),
    *("skactiveml:monte_carlo_eer", "skactiveml:probabilistic_al", "skactiveml:query_by_committee"),
    *("small-text:badge", "small-text:bald", "small-text:breaking_ties", "small-text:contrastive_active_learning"),
    "small-text:greedy_coreset",
]

ENTRIES = [
    *(Entry(name, name) for name in _BATCHES),
    *(Entry(f"{name}, label by label", name, sequential=True) for name in _SEQUENTIAL),
    Entry("mlmoc, noise 0.3", "mlmoc", {"noise": 0.3}),
    Entry("mlmoc, label by label, noise 0.3", "mlmoc", {"noise": 0.3}, sequential=True),
    Entry("emoc, label by label, noise 0.3", "emoc", {"noise": 0.3}, sequential=True),
    Entry("mlmoc, label by label, ridge 0.1", "mlmoc", sequential=True, ridge=0.1),
    Entry("auto", "auto"),
    Entry("auto, label by label", "auto", sequential=True),
    Entry("mlmoc, flips", "mlmoc", {"change": "flips"}),
    Entry("npc, swap", "npc", {"search": "swap"}),
    Entry("npc, last layer", "npc", {"kernel": "last_layer"}),
    Entry("ntkcpl, last layer", "ntkcpl", {"features": "al"}),
    Entry("ll4al", "ll4al", loss_prediction=True, from_nothing=False),
    *(Entry(name, name, peer=True) for name in _PEERS_FROM_NOTHING),
    *(Entry(name, name, peer=True, from_nothing=False) for name in _PEERS),
]


def entries(setting: Setting) -> list[Entry]:
    """Who takes part in a setting."""
    fit = [entry for entry in ENTRIES if setting.counts[0] > 0 or entry.from_nothing]
    return [entry for entry in fit if not setting.only or entry.name in setting.only]
