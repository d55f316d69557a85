"""Drawn characters as a frozen encoder sees them: what a team has that brings embeddings instead of a network.

The encoder is a small convolutional network trained to tell Greek letters apart, which are none of the classes.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.data.base import Dataset, Floats
from benchmarks.data.glyphs import ALPHANUMERIC, glyphs

GREEK = "ΓΘΛΞΠΣΦΨαβγδεζηθικλνξπρστυφχψω"  # without those that fonts also call by the names of units
SIZE = 32
_STEPS, _BATCH, _RATE = 1500, 128, 2e-3


def encoder(letters: Dataset, seed: int) -> nn.Sequential:
    """A network of images (N, 1, 32, 32) to 128 numbers each, trained on these letters with a layer that is left out.

    The same letters and seed give the same network on the same machine.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = nn.Sequential(
            *(nn.Conv2d(1, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64 * 16, 128), nn.ReLU()),
        )
        head = nn.Linear(128, len(letters.classes))
        x, y = torch.from_numpy(letters.x), torch.from_numpy(letters.y)
        parameters = [*body.parameters(), *head.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=_RATE, total_steps=_STEPS)
        for _ in range(_STEPS):
            rows = torch.randint(len(x), (_BATCH,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(body(x[rows])), y[rows]).backward()
            optimizer.step()
            schedule.step()
    return body.eval()


def encoded(images: Dataset, network: nn.Module, name: str) -> Dataset:
    """The same items as the vectors (N, D) that the network gives for them."""
    with torch.no_grad():
        parts = [network(part) for part in torch.from_numpy(images.x).split(500)]
    return Dataset(name, torch.cat(parts).numpy(), images.y, images.classes)


def encoded_glyphs62(items: int = 10_000, seed: int = 0, cache: Path | None = None) -> Dataset:
    """Digits, capitals and small letters as vectors (items, 128); kept in `cache`, a file, if there is one."""
    if cache is not None and cache.exists():
        with np.load(cache, allow_pickle=False) as kept:
            x: Floats = kept["x"]
            return Dataset("encoded_glyphs62", x, kept["y"], list(ALPHANUMERIC))
    network = encoder(glyphs(SIZE, GREEK, 10_000, seed + 1), seed)
    dataset = encoded(glyphs(SIZE, ALPHANUMERIC, items, seed), network, "encoded_glyphs62")
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when whole: another process may be looking for it.
        part = cache.with_suffix(".part.npz")
        np.savez(part, x=dataset.x, y=dataset.y)
        part.rename(cache)
    return dataset
