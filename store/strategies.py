"""Every strategy in words and in costs, for whoever lists, chooses or runs one.

Costs are formulas over N items of the window, n of them labeled and m of them candidates, C classes, P parameters of
the network, D features, b picks, k clusters, s subsets or samples, and tile, the bytes of a tile of work. Memory is in
bytes beside the live kernel model, which every strategy shares; time is in multiplications, up to a constant.
"""

from dataclasses import dataclass
from typing import Literal

Need = Literal["checkpoint", "labels", "loss_predictor"]
TILE_BYTES = 1 << 26

_LA = (
    "Mohamadi, Bae and Sutherland: Making Look-Ahead Active Learning Strategies Feasible with Neural Tangent "
    "Kernels, NeurIPS 2022"
)
_SURVEY = "Settles: Active Learning Literature Survey, 2009"


@dataclass(frozen=True)
class Strategy:
    """One strategy as it is listed, and what it costs."""

    name: str
    title: str
    summary: str
    source: str
    needs: tuple[Need, ...]
    memory: str
    time: str


_EVERY = (
    Strategy(
        "mlmoc",
        "Most likely model output change",
        "The item whose predicted label would change the model's outputs over all candidates most.",
        f"{_LA}, equation 13",
        ("checkpoint",),
        "tile + 24*m*C + 8*m*b",
        "m*C + b*b*m*m",
    ),
    Strategy(
        "emoc",
        "Expected model output change",
        "The same change in expectation over the labels the item may have.",
        f"{_LA}, equation 3",
        ("checkpoint",),
        "tile + 40*m*C + 8*m*b",
        "m*C + b*m*m*(b + C)",
    ),
    Strategy(
        "eer",
        "Expected error reduction",
        "The item whose label is expected to leave the least entropy in the predictions of all candidates.",
        f"{_LA}, equation 2",
        ("checkpoint",),
        "8*tile + 24*m*C + 8*m*b",
        "b*m*m*(b + C)",
    ),
    Strategy(
        "one_step",
        "One-step look-ahead",
        "The item whose predicted label would change the outputs most by a single gradient step.",
        f"{_LA}, figure 1b",
        ("checkpoint",),
        "tile + 24*m*C",
        "m*m + m*C",
    ),
    Strategy(
        "infinite_ntk",
        "Infinite-width look-ahead",
        "Most likely model output change under the kernel of an infinitely wide network on the inputs.",
        f"{_LA}, figure 1b",
        ("checkpoint",),
        "tile + 24*N*N + 16*m*m + 8*N*D",
        "N*N*D + n*n*n + n*m*m + b*b*m*m",
    ),
    Strategy(
        "gp",
        "Gaussian-process look-ahead",
        "Most likely model output change under a squared-exponential kernel on features.",
        f"{_LA}, figure 1b",
        ("checkpoint",),
        "32*N*N + 16*m*m + 8*N*D",
        "N*N*D + n*n*n + n*m*m + b*b*m*m",
    ),
    Strategy(
        "npc",
        "Neural pre-conditioning",
        "The batch that keeps the labeled items' kernel matrix best conditioned: its smallest eigenvalue largest.",
        "A Neural Pre-Conditioning Active Learning Algorithm to Reduce Label Complexity, NeurIPS 2022, algorithm 1",
        ("checkpoint",),
        "2*tile + 48*n*n + 24*n*m + 16*m*m",
        "10*n*n*n + n*n*m + m*m + s*(n*b*b + b*b*b)",
    ),
    Strategy(
        "dynamical",
        "Training dynamics",
        "The items whose gradients add most to the speed of training together with the labeled ones.",
        "Wang et al.: Deep Active Learning by Leveraging Training Dynamics, NeurIPS 2022, equations 12 and 13",
        ("checkpoint",),
        "8*tile + 24*P + 24*m*C + 16*n*N",
        "P*(n + 3*m + 2*b*m)",
    ),
    Strategy(
        "ntkcpl",
        "Coverage of clusters",
        "The items whose labels let a kernel model tell the pool's clusters apart with fewest errors.",
        "Wen, Pizarro and Williams: NTKCPL: Active Learning on Top of Self-Supervised Model by Estimating True "
        "Coverage, 2023, algorithms 1 and 2",
        ("checkpoint",),
        "4*tile + 32*N*N + 24*N*k + 8*N*D",
        "N*N*D + n*n*N + b*N*m*k",
    ),
    Strategy(
        "random",
        "Random",
        "Uniform without replacement; works before any checkpoint.",
        "the yardstick",
        (),
        "64*m",
        "m",
    ),
    Strategy(
        "entropy",
        "Entropy",
        "The largest entropy of the softmax of the outputs.",
        _SURVEY,
        ("checkpoint",),
        "32*N*C + 48*m",
        "m*C",
    ),
    Strategy(
        "margin",
        "Margin",
        "The smallest gap between the two largest outputs.",
        _SURVEY,
        ("checkpoint",),
        "24*m*C + 48*m",
        "m*C",
    ),
    Strategy(
        "least_confidence",
        "Least confidence",
        "The smallest softmax probability of the predicted class.",
        _SURVEY,
        ("checkpoint",),
        "32*N*C + 48*m",
        "m*C",
    ),
    Strategy(
        "coreset",
        "Coreset",
        "The item farthest in feature space from everything labeled: greedy k-centre.",
        "Sener and Savarese: Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018",
        ("checkpoint",),
        "tile + 16*N*D",
        "(n + b)*m*D",
    ),
    Strategy(
        "badge",
        "BADGE",
        "Diverse and uncertain items: k-means++ on the gradients their predicted labels would cause.",
        "Ash et al.: Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, ICLR 2020",
        ("checkpoint",),
        "tile + 32*m*C + 64*m + 16*N*D",
        "b*m*(C + D)",
    ),
    Strategy(
        "albl",
        "Active learning by learning",
        "A bandit that learns, from the labels that come back, whether coreset or least confidence serves better.",
        "Hsu and Lin: Active Learning by Learning, AAAI 2015",
        ("checkpoint",),
        "tile + 24*m*C + 16*N*D",
        "(n + b)*m*D",
    ),
    Strategy(
        "typiclust",
        "TypiClust",
        "The most typical items of clusters without labels: for the very first labels.",
        "Hacohen, Dekel and Weinshall: Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets, "
        "ICML 2022",
        ("checkpoint",),
        "8192*N + 40*N*D",
        "30*N*D*min(n + b, 500) + N*N*D/max(1, n + b)",
    ),
    Strategy(
        "bald",
        "BALD",
        "The items on which networks sampled by dropout disagree most.",
        "Gal, Islam and Ghahramani: Deep Bayesian Active Learning with Image Data, ICML 2017",
        ("checkpoint",),
        "tile + 64*m*C + 16*m*D",
        "s*m*P",
    ),
    Strategy(
        "egl",
        "Expected gradient length",
        "The items whose label is expected to cause the longest gradient.",
        "Settles, Craven and Ray: Multiple-Instance Active Learning, NeurIPS 2007",
        ("checkpoint",),
        "8*tile + 24*P + 40*m*C + 16*N*D",
        "m*(C + D) + m*P*C",
    ),
    Strategy(
        "ll4al",
        "Learning loss",
        "The items with the largest loss as predicted by a module trained beside the network.",
        "Yoo and Kweon: Learning Loss for Active Learning, CVPR 2019",
        ("checkpoint", "loss_predictor"),
        "tile + 24*m*C",
        "m*P",
    ),
)

STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in _EVERY}
