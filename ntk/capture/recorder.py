"""Recording what a forward pass does with parameters, by watching every function it calls.

Watching functions and not modules makes a weight that is used twice, outside its layer, or by two layers as exact as
any other: each use is seen. What the functions in `rules` and `composite` do is known; a parameter that any other
function takes has "escaped", and is left to per-example differentiation.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ntk.capture.uses import Kind, Use

Tensor = torch.Tensor
Handler = Callable[..., Tensor | tuple[Any, ...]]


class DeclinedError(Exception):
    """A rule does not cover this call; nothing has been recorded of it."""


class Recorder(TorchFunctionMode):
    """Uses of parameters in the forward pass that runs inside it."""

    def __init__(
        self,
        names: dict[int, str],
        handlers: dict[Callable[..., Any], Handler],
        on_output: Callable[[int, Tensor], None] | None = None,
    ) -> None:
        """`names` are parameters by id; `on_output` sees every output that a parameter took part in."""
        super().__init__()
        self.uses: list[Use] = []
        self.escaped: dict[str, str] = {}
        self._names = names
        self._handlers = handlers
        self._on_output = on_output
        self._calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call of one function."""
        kwargs = kwargs or {}
        used = [self._names[id(tensor)] for tensor in _tensors((args, kwargs)) if id(tensor) in self._names]
        if not used:
            return func(*args, **kwargs)
        before = len(self.uses), self._calls
        handler = self._handlers.get(func)
        if handler is not None:
            try:
                answer = handler(self, *args, **kwargs)
            except (DeclinedError, TypeError):  # also calls with arguments that the rule does not know
                del self.uses[before[0] :]
                self._calls = before[1]
            else:
                known = {use.parameter for use in self.uses[before[0] :]}
                self._escape((name for name in used if name not in known), func)
                return answer
        answer = func(*args, **kwargs)
        if any(True for _ in _tensors(answer)):
            self._escape(used, func)
        return answer

    def name(self, tensor: Tensor | None) -> str | None:
        """The parameter that a tensor is, if it is one."""
        return None if tensor is None else self._names.get(id(tensor))

    def record(self, output: Tensor, *uses: tuple[Tensor | None, Kind, Tensor | None]) -> Tensor:
        """Note the uses (parameter, kind, what its gradient needs) that made an output; returns the output."""
        named = [(name, kind, saved) for tensor, kind, saved in uses if (name := self.name(tensor)) is not None]
        if not named:
            return output
        for name, kind, saved in named:
            saved = saved if saved is None else saved.detach()
            self.uses.append(Use(name, kind, self._calls, saved, tuple(output.shape)))
        if torch.is_grad_enabled() and not output.requires_grad:
            # Nothing before this needs a gradient: the graph begins here. A clone may be overwritten in place.
            output = output.detach().requires_grad_(True).clone()
        # Without a graph, inside no_grad, nothing comes back to it: its gradient is zero.
        if self._on_output is not None and output.requires_grad:
            self._on_output(self._calls, output)
        self._calls += 1
        return output

    def _escape(self, names: Iterable[str], func: Any) -> None:
        for name in names:
            self.escaped.setdefault(name, getattr(func, "__name__", str(func)))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
