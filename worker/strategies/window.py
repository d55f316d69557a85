"""What a strategy may look at: the kernel model of a window, and the network's features, computed when first asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ntk.calibration import temperature
from ntk.kernel import Items, Tick, nothing
from ntk.penultimate import Penultimate
from ntk.posterior import Posterior
from worker.training.loss_prediction import LossPredictor

Tensor = torch.Tensor


@dataclass
class Window:
    """One window of N items, n of them labeled and m of them candidates. Indices are the posterior's."""

    posterior: Posterior
    network_outputs: Tensor  # (N, C) of the checkpoint, float64
    inputs_of: Callable[[list[int]], Items]  # some of the window's items, read when they are needed
    order: Tensor  # (N,) distinct keys of the items, the same however the window is kept
    open_module: Callable[[], nn.Module]
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    open_loss_predictor: Callable[[nn.Module], LossPredictor | None] = lambda _: None
    trained_here: bool = False  # on this project's labels
    last_layer_has_bias: bool = True  # known once `penultimate` features were read
    _module: nn.Module | None = None
    _features: dict[str, Tensor] = field(default_factory=dict)
    _penultimate: Penultimate | None = None

    @property
    def module(self) -> nn.Module:
        """The checkpoint's network, in eval mode. Raises CheckpointError, ArtifactMissingError."""
        if self._module is None:
            self._module = self.open_module()
        return self._module

    @property
    def candidates(self) -> Tensor:
        """(m,) window indices."""
        return self.posterior.candidates

    @property
    def keys(self) -> Tensor:
        """(m,) keys of the candidates."""
        return self.order[self.candidates]

    def by_key(self) -> tuple[Tensor, Tensor]:
        """(members (n + m,), place (N,)): labeled items and candidates in the order of their keys, and where each is.

        k-means starts from rows, and must not depend on how they are kept. Items that are neither have the place -1.
        """
        members = torch.cat([self.posterior.labeled, self.candidates])
        members = members[torch.argsort(self.order[members])]
        place = torch.full((self.posterior.size,), -1, dtype=torch.long, device=members.device)
        place[members] = torch.arange(len(members), device=members.device)
        return members, place

    @property
    def vectors(self) -> bool:
        """Whether items are plain feature vectors."""
        return self.items([0])[0:1].ndim == 2

    @property
    def parameters(self) -> int:
        """P: parameters of the network."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def candidate_outputs(self, reference: str) -> Tensor:
        """(m, C) outputs of the candidates, as `outputs_of` has them; the kernel model's are held already."""
        return self.posterior.candidate_outputs if reference == "linearized" else self.network_outputs[self.candidates]

    def outputs_of(self, items: Tensor, reference: str) -> Tensor:
        """(q, C) outputs of window items: of the kernel model (`linearized`) or of the checkpoint (`network`)."""
        return self.posterior.outputs_of(items) if reference == "linearized" else self.network_outputs[items]

    def temperature(self, probabilities: str) -> float:
        """What outputs are divided by before a softmax: 1, or by leave-one-out outputs where it is to be calibrated.

        `auto` calibrates networks trained here. Fitted to one-hot targets by squared loss, their softmax is nearly flat
        however sure they are; fitted to few labels by cross-entropy, it is surer than it should be.
        """
        if probabilities == "calibrated" or (probabilities == "auto" and self.trained_here):
            return temperature(self.posterior.leave_one_out(), self.posterior.labels)
        return 1.0

    def features(self, kind: str, on_tile: Tick = nothing) -> Tensor:
        """(N, D), float64: `inputs` flattened, `penultimate` (the last layer's input), or `auto`.

        `auto` is the inputs where they are feature vectors already. `on_tile` is called as items are read. Raises
        UnsupportedNetworkError.
        """
        if kind == "auto":
            kind = "inputs" if self.vectors else "penultimate"
        known = self._features.get(kind)
        start, size = 0 if known is None else len(known), self.posterior.size
        if start < size:
            new = self._computed(kind, self.items(range(start, size)), on_tile)
            self._features[kind] = new if known is None else torch.cat([known, new])
        return self._features[kind]

    def _computed(self, kind: str, items: Items, on_tile: Tick) -> Tensor:
        if kind == "inputs":
            return items[0 : len(items)].flatten(1).double().to(self.device)
        if self._penultimate is None:
            self._penultimate = Penultimate(self.module, dtype=self.dtype, device=self.device)
        features, _, self.last_layer_has_bias = self._penultimate.read(items, on_tile)
        return features

    def forget_network(self) -> None:
        """The network has gained outputs. Its features stay: they lie before the last layer."""
        self._module = None

    def items(self, indices: Tensor | Sequence[int]) -> Items:
        """Inputs of some of the window's items, read when they are needed."""
        return self.inputs_of(indices.tolist() if isinstance(indices, Tensor) else list(indices))

    @property
    def nbytes(self) -> int:
        """Memory held beside the posterior."""
        held = sum(features.nbytes for features in self._features.values())
        if self._module is not None:
            held += sum(tensor.nbytes for tensor in self._module.state_dict().values())
        return held
