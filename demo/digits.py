"""scikit-learn's digits, split by a seed, and a small network trained on a few labels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from sklearn.datasets import load_digits
from torch import nn

HIDDEN = [128, 128]
CLASSES = [str(digit) for digit in range(10)]
HELD_OUT = 500


@dataclass(frozen=True)
class Digits:
    """Pool and held-out items with their true classes; `initial` are pool rows that are labeled at the start."""

    pool: npt.NDArray[np.float32]  # (N, 64)
    pool_classes: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.float32]
    held_out_classes: npt.NDArray[np.int64]
    initial: list[int]

    @property
    def pool_ids(self) -> list[str]:
        """External ids of the pool, by row."""
        return [f"digit-{row}" for row in range(len(self.pool))]

    @property
    def held_out_ids(self) -> list[str]:
        """External ids of the held-out items, by row."""
        return [f"test-{row}" for row in range(len(self.held_out))]


def split(seed: int, labels: int) -> Digits:
    """A random split with two initial labels per class for every 20, the way a first sheet is often made up."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    inputs, classes = (x[order] / 16).astype(np.float32), y[order].astype(np.int64)
    pool, pool_classes = inputs[HELD_OUT:], classes[HELD_OUT:]
    per_class = labels // len(CLASSES)
    initial = [int(row) for digit in range(10) for row in np.flatnonzero(pool_classes == digit)[:per_class]]
    return Digits(pool, pool_classes, inputs[:HELD_OUT], classes[:HELD_OUT], initial)


def train(digits: Digits, rows: list[int], seed: int, steps: int = 300) -> nn.Sequential:
    """A perceptron fitted to these pool rows by squared loss on one-hot targets, as the kernel model assumes."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    width = digits.pool.shape[1]
    for hidden in HIDDEN:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    network = nn.Sequential(*layers, nn.Linear(width, len(CLASSES)))
    x = torch.from_numpy(digits.pool[rows])
    target = nn.functional.one_hot(torch.from_numpy(digits.pool_classes[rows]), len(CLASSES)).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (network(x) - target).square().sum(dim=1).mean()
        loss.backward()
        optimizer.step()
    return network


def weights(network: nn.Module) -> bytes:
    """The network as safetensors."""
    return save(network.state_dict())


def accuracy(network: nn.Module, digits: Digits) -> float:
    """Share of held-out items the network gets right."""
    with torch.no_grad():
        predicted = network(torch.from_numpy(digits.held_out)).argmax(dim=1).numpy()
    return float((predicted == digits.held_out_classes).mean())
