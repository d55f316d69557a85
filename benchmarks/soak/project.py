"""The project that is labeled: a small network on random vectors, so that all the time goes into what is tested."""

import io
import threading

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch import nn

from client.sdk import Client

NAME = "soak"
CLASSES = ["red", "green", "blue", "grey"]
FEATURES, HIDDEN = 8, [32, 16]
ITEMS, WINDOW, UPLOAD = 900, 500, 20
PREPARE_SECONDS = 120.0


class Pool:
    """Items with their inputs; grows under a lock."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng([seed, 1])
        self._lock = threading.Lock()
        self._inputs: list[npt.NDArray[np.float64]] = []
        self.ids: list[str] = []
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Flatten()]
        width = FEATURES
        for hidden in HIDDEN:
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            width = hidden
        self.module = nn.Sequential(*layers, nn.Linear(width, len(CLASSES))).double()

    def draw(self, count: int) -> npt.NDArray[np.float64]:
        """Inputs for more items, which are in the pool once `add` says so."""
        with self._lock:
            return self._random.normal(size=(count, FEATURES))

    def add(self, ids: list[str], inputs: npt.NDArray[np.float64]) -> None:
        """The service has them."""
        with self._lock:
            self.ids.extend(ids)
            self._inputs.append(inputs)

    def inputs(self) -> dict[str, npt.NDArray[np.float64]]:
        """By item."""
        with self._lock:
            return dict(zip(self.ids, np.concatenate(self._inputs), strict=True))


def archive(ids: list[str], inputs: npt.NDArray[np.float64]) -> bytes:
    """An upload."""
    buffer = io.BytesIO()
    np.savez(buffer, x=inputs, ids=np.array(ids))
    return buffer.getvalue()


def create(client: Client, pool: Pool) -> None:
    """The project with its first items and a prepared kernel state, all in float64."""
    client.create_project(NAME, CLASSES, kernel={"window": WINDOW, "dtype": "float64"})
    ids, inputs = [f"item-{k}" for k in range(ITEMS)], pool.draw(ITEMS)
    client.upload_pool(NAME, inputs, ids)
    pool.add(ids, inputs)
    weights = save({key: tensor.contiguous() for key, tensor in pool.module.state_dict().items()})
    job = client.upload_checkpoint(NAME, weights, "mlp", {"hidden": HIDDEN})
    client.wait_for(job, timeout=PREPARE_SECONDS)
