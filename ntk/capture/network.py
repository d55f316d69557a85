"""A network as the kernel sees it: in eval mode, one row of outputs per item, its parameters by name."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from ntk.capture.composite import COMPOSITE
from ntk.capture.recorder import Recorder
from ntk.capture.rules import RULES
from ntk.errors import UnsupportedNetworkError

Tensor = torch.Tensor
HANDLERS = RULES | COMPOSITE
# Where models that answer with a mapping or an object put their class scores.
OUTPUT_NAMES = ("logits", "out")


class Network:
    """A private copy of a module: the caller's keeps its mode, its dtype and its gradients."""

    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        """Raises UnsupportedNetworkError."""
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if nn.parameter.is_lazy(tensor):
                raise UnsupportedNetworkError(f"{name!r} has no shape yet: run the network once on one item first")
            if tensor.is_complex() and isinstance(tensor, nn.Parameter):
                raise UnsupportedNetworkError(f"parameter {name!r} is complex; the kernel is that of real parameters")
        for name, layer in module.named_modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
                raise UnsupportedNetworkError(
                    f"layer {name!r} ({type(layer).__name__}) keeps no running statistics: it mixes the batch's items"
                )
        try:
            with torch.no_grad():  # a scripted module would remember how its copy was made
                self.module = copy.deepcopy(module).to(device, dtype).eval().requires_grad_(False)
        except RuntimeError as error:
            raise UnsupportedNetworkError(
                f"the network cannot be copied: {error}. Weights that hooks compute before each pass are one cause: "
                "torch.nn.utils.parametrizations has replacements"
            ) from error
        # Integer parameters (quantised weights, index tables) have no gradient: they are constants.
        self.parameters = {
            name: parameter for name, parameter in self.module.named_parameters() if parameter.is_floating_point()
        }
        if not self.parameters:
            raise UnsupportedNetworkError("the network has no parameters")
        self._names = {id(parameter): name for name, parameter in self.parameters.items()}

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs (N, C). Raises UnsupportedNetworkError."""
        # A copy: the pass may overwrite its input.
        return class_scores(self.module(x.clone()), len(x))

    def outputs(self, x: Tensor) -> Tensor:
        """Outputs (N, C), without a graph."""
        with torch.no_grad():
            return self(x)

    def watch(self, x: Tensor, on_output: Callable[[int, Tensor], None] | None = None) -> tuple[Tensor, Recorder]:
        """(outputs with a graph from the first use on, what was recorded) of a pass over x.

        `on_output` sees every output that a parameter took part in.
        """
        recorder = Recorder(self._names, HANDLERS, on_output)
        with recorder, torch.enable_grad():
            outputs = self(x)
        return outputs, recorder

    def gradients(self, item: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """∇ of weights·f of one item (1, ...) by parameter, by autograd: the plain way."""
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        try:
            with torch.enable_grad():
                scalar = self(item)[0] @ weights
                found = torch.autograd.grad(scalar, list(self.parameters.values()), allow_unused=True)
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise UnsupportedNetworkError(f"the network cannot be differentiated: {error}") from error
            found = tuple(
                torch.zeros_like(each) for each in self.parameters.values()
            )  # nothing differentiable reaches the outputs
        finally:
            self.module.requires_grad_(False)
        pairs = zip(self.parameters.items(), found, strict=True)
        return {name: torch.zeros_like(like) if each is None else each for (name, like), each in pairs}

    def per_example(self, names: Sequence[str], x: Tensor, weights: Tensor, *, loop: bool) -> Tensor:
        """(N, entries of these parameters) gradients of weights·f, `weights` (C,) or (N, C), item by item."""
        weights = weights.expand(len(x), weights.shape[-1])
        if loop:
            rows = []
            for k in range(len(x)):
                found = self.gradients(x[k : k + 1], weights[k])
                rows.append(torch.cat([found[name].flatten() for name in names]))
            return torch.stack(rows)
        chosen: dict[str, Tensor] = {name: self.parameters[name] for name in names}

        def scalar(values: dict[str, Tensor], item: Tensor, own: Tensor) -> Tensor:
            outputs = class_scores(functional_call(self.module, values, (item[None],)), 1)
            return outputs[0] @ own

        found = vmap(grad(scalar), in_dims=(None, 0, 0), randomness="error")(chosen, x, weights)
        return torch.cat([found[name].flatten(1) for name in names], dim=1)


def class_scores(answer: Any, items: int) -> Tensor:
    """The (N, C) tensor in what a module returned. Raises UnsupportedNetworkError."""
    if isinstance(answer, Mapping):
        found = [answer[name] for name in OUTPUT_NAMES if name in answer]
    elif isinstance(answer, tuple | list):
        found = list(answer) if len(answer) == 1 else [getattr(answer, n) for n in OUTPUT_NAMES if hasattr(answer, n)]
    else:
        found = [answer] if isinstance(answer, Tensor) else []
    if len(found) != 1 or not isinstance(found[0], Tensor):
        raise UnsupportedNetworkError(
            f"the network returns {type(answer).__name__}: it must return its class scores, a tensor (N, C), alone or "
            f"under one of the names {', '.join(OUTPUT_NAMES)}; wrap it in a module that does"
        )
    outputs = found[0]
    if outputs.ndim != 2 or len(outputs) != items:
        raise UnsupportedNetworkError(
            f"the network returns shape {tuple(outputs.shape)} for {items} items: it must return class scores (N, C)"
        )
    return outputs
