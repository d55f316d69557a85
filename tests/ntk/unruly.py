"""Networks that no rule covers whole, and networks of tokens: name -> (module, shape of an item)."""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.ntk.modules import Build, Lambda, items_innermost, parameter

Tensor = torch.Tensor


class Squared(torch.autograd.Function):
    """x ∘ w², differentiated by hand."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x * w * w

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return gradients[0] * w * w, (gradients[0] * 2 * x * w).sum(dim=0)


def tokens_tied() -> nn.Module:
    """A table that is looked up, and multiplied with at the end."""

    def forward(self: Any, x: Tensor) -> Tensor:
        hidden = self.table(x).tanh().mean(dim=1)
        return nn.functional.linear(hidden, self.table.weight)

    return Lambda(forward, table=nn.Embedding(7, 4))


# No rule covers some parameter of these.
PER_EXAMPLE: dict[str, tuple[Build, tuple[int, ...]]] = {
    "bilinear": (lambda: Lambda(lambda self, x: self.layer(x, x.tanh()), layer=nn.Bilinear(4, 4, 3)), (4,)),
    "derived weight": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Linear(5, 3)),
        (4,),
    ),
    "transposed view": (lambda: Lambda(lambda self, x: x @ self.w.t(), w=parameter(3, 4)), (4,)),
    "items innermost, and a wrong rule": (
        lambda: Lambda(
            lambda self, x: (
                self.inner(x[..., :4]) * self.table(x[..., 4].abs().long().clamp(max=6)).mean(dim=(1, 2))[:, None]
            ),
            inner=items_innermost(),
            table=nn.Embedding(7, 4, scale_grad_by_freq=True),  # autograd scales what the rule does not
        ),
        (3, 5),
    ),
    "recomputed": (
        lambda: Lambda(
            lambda self, x: self.b(checkpoint(lambda y: self.a(y).tanh(), x, use_reentrant=False)),
            a=nn.Linear(4, 4),
            b=nn.Linear(4, 3),
        ),
        (4,),
    ),
    "scripted": (
        lambda: nn.Sequential(torch.jit.script(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)),
        (4,),
    ),
    "own function": (
        lambda: Lambda(lambda self, x: self.head(Squared.apply(x, self.w)), w=parameter(4), head=nn.Linear(4, 3)),  # type: ignore[no-untyped-call]
        (4,),
    ),
    "depends on the data": (
        lambda: Lambda(
            lambda self, x: torch.cat([self.b(row if row[0, 0] > 0 else self.a(row)) for row in x.split(1)]),
            a=nn.Linear(4, 4),
            b=nn.Linear(4, 3),
        ),
        (4,),
    ),
}

TOKENS: dict[str, Build] = {
    "bag of tokens": lambda: Lambda(
        lambda self, x: self.head(self.table(x).mean(dim=1).tanh()),
        table=nn.Embedding(7, 4, padding_idx=2),
        head=nn.Linear(4, 3),
    ),
    "large vocabulary": lambda: Lambda(
        lambda self, x: self.head(self.table(x).flatten(1).tanh()), table=nn.Embedding(5000, 4), head=nn.Linear(20, 3)
    ),
    "table looked up and multiplied": tokens_tied,
}
