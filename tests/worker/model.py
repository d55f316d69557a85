"""What the service should say, from a refit in float64: follows the same labels as the service does."""

from typing import Any

import numpy as np
import torch

from tests import factories, oracles
from tests.api import Api, npz

Tensor = torch.Tensor


class Reference:
    """A project with a pool and a checkpoint, and the slow model of both."""

    def __init__(
        self,
        api: Api,
        *,
        items: int = 120,
        features: int = 6,
        classes: int = 3,
        seed: int = 0,
        hidden: tuple[int, ...] = (16, 8),
        held_out: int = 0,
        **kernel: Any,
    ) -> None:
        self.api = api
        self.names = [f"item-{k}" for k in range(items)]
        generator = torch.Generator().manual_seed(seed)
        dtype = torch.float64 if kernel.get("dtype") == "float64" else torch.float32
        x = torch.randn((items + held_out, features), generator=generator, dtype=torch.float64).to(dtype)
        self.module = factories.mlp(features, list(hidden), classes, seed).to(dtype)
        self.classes = [f"class {k}" for k in range(classes)]
        self.truth = torch.randint(classes, (items,), generator=generator).tolist()
        slow = self.module.double()
        self.gram = oracles.gram(slow, x.double())
        self.outputs = slow(x.double()).detach()
        self.module.to(dtype)
        api.project(classes=self.classes, kernel=kernel)
        answer = api.upload(npz(x=x[:items].numpy(), ids=np.array(self.names)))
        assert answer.status_code == 201, answer.text
        if held_out:
            names = [f"test-{k}" for k in range(held_out)]
            answer = api.upload(npz(x=x[items:].numpy(), ids=np.array(names)), held_out="true")
            assert answer.status_code == 201, answer.text
            self.names += names
        self.labels: dict[int, int] = {}
        self.skipped: set[int] = set()
        self.dtype = dtype
        self.relative = kernel.get("ridge", 1e-4)
        self.ridge = self.relative * float(self.gram.diagonal()[:items].mean())
        self.suggestible = items

    def prepare(self) -> None:
        """Upload the checkpoint and wait until it is active."""
        import time

        from tests.api import weights

        hidden = [layer.out_features for layer in self.module if isinstance(layer, torch.nn.Linear)][:-1]  # type: ignore[attr-defined]
        answer = self.api.checkpoint(weights(self.module, self.dtype), options={"hidden": hidden})
        assert answer.status_code == 202, answer.text
        deadline = time.monotonic() + 30
        while (job := self.api.get(answer.headers["location"]).json())["status"] in {"queued", "running"}:
            assert time.monotonic() < deadline, job
            time.sleep(0.01)
        assert job["status"] == "succeeded", job
        self.ridge = job["result"]["ridge"]

    def label(self, index: int, label: int | None = None) -> int:
        """Label as the truth says, or as told."""
        label = self.truth[index] if label is None else label
        answer = self.api.label(self.names[index], self.classes[label])
        assert answer.status_code == 201, answer.text
        self.labels[index] = label
        self.skipped.discard(index)
        seq: int = answer.json()["seq"]
        return seq

    def withdraw(self, index: int) -> None:
        """Take a label or a skip back."""
        assert self.api.label(self.names[index], None).status_code == 201
        self.labels.pop(index, None)
        self.skipped.discard(index)

    def skip(self, index: int) -> None:
        """Skip."""
        assert self.api.label(self.names[index], skip=True).status_code == 201
        self.labels.pop(index, None)
        self.skipped.add(index)

    @property
    def candidates(self) -> list[int]:
        """Items that may be suggested."""
        return [k for k in range(self.suggestible) if k not in self.labels and k not in self.skipped]

    def expected_outputs(self) -> Tensor:
        """f of every item."""
        return oracles.refit(self.gram, self.outputs, self.ridge, list(self.labels), list(self.labels.values()))

    def expected_scores(self, *, network: bool = False) -> dict[str, float]:
        """MLMOC of every candidate by refitting."""
        values = oracles.mlmoc(
            self.gram,
            self.outputs,
            self.ridge,
            list(self.labels),
            list(self.labels.values()),
            self.candidates,
            network=network,
        )
        return dict(zip((self.names[k] for k in self.candidates), values.tolist(), strict=True))

    def scores(self, **options: Any) -> dict[str, float]:
        """What the service says."""
        answer = self.api.suggest(
            count=len(self.names), strategy="mlmoc", options={"batch": "top_k", "why": 0, **options}
        )
        assert answer.status_code == 200, answer.text
        found = {entry["item"]: entry["score"] for entry in answer.json()["suggestions"]}
        assert list(found.values()) == sorted(found.values(), reverse=True)
        return found

    def predictions(self, source: str = "linearized") -> Tensor:
        """What the service says of every item."""
        answer = self.api.get("/projects/p/predictions", items=",".join(self.names), source=source)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert [entry["item"] for entry in body["predictions"]] == self.names
        return torch.tensor([entry["outputs"] for entry in body["predictions"]], dtype=torch.float64)

    def check(self, bound: float) -> None:
        """Scores of every candidate and outputs of every item equal the refit's."""
        for network in (False, True):
            expected = self.expected_scores(network=network)
            found = self.scores(reference="network" if network else "linearized")
            assert found.keys() == expected.keys()
            worst = max(abs(found[k] - expected[k]) / expected[k] for k in expected)
            assert worst < bound, worst
        assert torch.allclose(self.predictions(), self.expected_outputs(), rtol=bound, atol=bound)
