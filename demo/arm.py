"""One project on a running service, labeled by an oracle that knows the true classes."""

import time
from dataclasses import dataclass, field

import numpy as np

from client.sdk import Client, OnProgress
from demo.digits import CLASSES, Digits


@dataclass
class Arm:
    """A way of choosing what to label: its project, and how it went."""

    client: Client
    project: str
    digits: Digits
    milliseconds: list[float] = field(default_factory=list)

    def prepare(self, weights: bytes, hidden: list[int], on_progress: OnProgress | None = None) -> None:
        """Create the project, upload pool, held-out items, initial labels and the checkpoint."""
        self.client.create_project(self.project, CLASSES)
        self.client.upload_pool(self.project, self.digits.pool, self.digits.pool_ids)
        self.client.upload_pool(self.project, self.digits.held_out, self.digits.held_out_ids, held_out=True)
        self.label_rows(self.digits.initial)
        job = self.client.upload_checkpoint(self.project, weights, "mlp", {"hidden": hidden}, loss="squared")
        self.client.wait_for(job, on_progress)

    def label_rows(self, rows: list[int]) -> None:
        """Label pool rows, all at once."""
        ids = self.digits.pool_ids
        self.client.labels(self.project, [(ids[row], CLASSES[self.digits.pool_classes[row]]) for row in rows])

    def stream(self, item: str, strategy: str, seed: int | None = None) -> str:
        """Label an item and take the next suggestion, timed from one to the other."""
        row = int(item.rpartition("-")[2])
        started = time.perf_counter()
        accepted = self.client.label(self.project, item, CLASSES[self.digits.pool_classes[row]])
        answer = self.client.suggest(self.project, strategy=strategy, seed=seed)
        self.milliseconds.append(1000 * (time.perf_counter() - started))
        if answer.label_seq < accepted.seq:
            raise RuntimeError(f"the suggestion rests on label {answer.label_seq}, not on {accepted.seq}")
        return answer.suggestions[0].item

    def accuracy(self) -> float:
        """Share of held-out items that the kernel model gets right after every label so far."""
        found = self.client.predictions(self.project, self.digits.held_out_ids).predictions
        right = [p.predicted == CLASSES[c] for p, c in zip(found, self.digits.held_out_classes, strict=True)]
        return float(np.mean(right))
