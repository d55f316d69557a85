"""Networks of every kind that has a rule: name -> (module, shape of an item)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests import factories

Tensor = torch.Tensor
Build = Callable[[], nn.Module]


class Lambda(nn.Module):
    """Modules and how to apply them."""

    def __init__(self, forward: Callable[..., Any], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self._forward(self, x)
        return answer


def images(*layers: nn.Module) -> nn.Module:
    """Layers over images, then class scores."""
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3))


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


def recurrent(layer: nn.RNNBase) -> nn.Module:
    """Class scores from the mean output over time."""
    axis = 1 if layer.batch_first else 0

    def forward(self: Any, x: Tensor) -> Tensor:
        outputs, _ = self.layer(x if layer.batch_first else x.transpose(0, 1))
        scores: Tensor = self.head(outputs.mean(dim=axis))
        return scores

    return Lambda(forward, layer=layer, head=nn.LazyLinear(3))


def cell(layer: nn.Module) -> nn.Module:
    """Three steps of one cell."""

    def forward(self: Any, x: Tensor) -> Tensor:
        state = None
        for t in range(3):
            state = self.layer(x[:, t], state)
        scores: Tensor = self.head(state[0] if isinstance(state, tuple) else state)
        return scores

    return Lambda(forward, layer=layer, head=nn.LazyLinear(3))


def attention(**options: bool | int) -> nn.Module:
    """Cross-attention with masks, batch first or not."""

    def forward(self: Any, x: Tensor) -> Tensor:
        keys = x[:, 1:].tanh()
        if not self.layer.batch_first:
            x, keys = x.transpose(0, 1), keys.transpose(0, 1)
        mask = torch.tensor([[True, False, False, False]]).expand(x.shape[0 if self.layer.batch_first else 1], 4)
        found, weights = self.layer(x, keys, keys, key_padding_mask=mask, attn_mask=torch.eye(5, 4, dtype=torch.bool))
        if not self.layer.batch_first:
            found = found.transpose(0, 1)
        scores: Tensor = self.head(found.flatten(1)) + weights.sum(dim=(1, 2))[:, None]
        return scores

    return Lambda(forward, layer=nn.MultiheadAttention(8, 2, **options), head=nn.Linear(40, 3))


def vision_transformer() -> nn.Module:
    """Patches, a class token, positions, an encoder layer."""

    def forward(self: Any, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1) + self.position
        scores: Tensor = self.head(self.norm(self.encoder(tokens) * self.scale)[:, 0])
        return scores

    return Lambda(
        forward,
        patch=nn.Conv2d(2, 8, 2, stride=2),
        token=parameter(1, 1, 8),
        position=parameter(1, 5, 8),
        encoder=nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        scale=parameter(8),
        norm=nn.LayerNorm(8),
        head=nn.Linear(8, 3),
    )


def tied() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second)


def residual_in_place() -> nn.Module:
    """Sums and activations that overwrite what came before them."""

    def forward(self: Any, x: Tensor) -> Tensor:
        a = nn.functional.relu_(self.first(x))
        b = self.second(a)
        b += a
        b += self.shift
        scores: Tensor = self.head(b.relu_())
        return scores

    return Lambda(forward, first=nn.Linear(4, 4), second=nn.Linear(4, 4), shift=parameter(4), head=nn.Linear(4, 3))


def without_a_graph() -> nn.Module:
    """A gate whose parameters nothing is to be learned for."""

    def forward(self: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            gate = self.gate(x).sigmoid()
        scores: Tensor = self.head(x * gate)
        return scores

    return Lambda(forward, gate=nn.Linear(4, 4), head=nn.Linear(4, 3))


def items_innermost() -> nn.Module:
    """A linear layer over positions and items merged, positions outermost."""

    def forward(self: Any, x: Tensor) -> Tensor:
        merged = x.transpose(0, 1).reshape(-1, 4)
        out = self.layer(merged).view(3, len(x), 5).transpose(0, 1)
        scores: Tensor = self.head(out.tanh().flatten(1))
        return scores

    return Lambda(forward, layer=nn.Linear(4, 5), head=nn.Linear(15, 3))


def shared_convolution() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = self.conv(self.conv(x).tanh()).tanh()
        x = self.conv(nn.functional.avg_pool2d(x, 2))  # and at another size
        scores: Tensor = self.head(x.mean(dim=(2, 3)))
        return scores

    return Lambda(forward, conv=nn.Conv2d(3, 3, 3, padding=1), head=nn.Linear(3, 3))


BY_RULE: dict[str, tuple[Build, tuple[int, ...]]] = {
    "mlp": (lambda: factories.mlp(6, [16, 8], 3), (6,)),
    "deep mlp": (lambda: factories.mlp(12, [20, 20, 20, 10], 10), (3, 4)),
    "linear": (lambda: factories.mlp(5, [], 2), (5,)),
    "cnn": (lambda: factories.cnn(2, 4), (2, 11, 9)),
    "few positions": (
        lambda: images(
            nn.Conv2d(4, 24, 3, padding=1, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(24, 30, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.Conv2d(30, 16, 2, bias=False),
        ),
        (4, 4, 4),
    ),
    "shifted": (
        lambda: images(
            nn.Conv2d(8, 60, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(60, 60, (3, 2), padding=(1, 1), dilation=(1, 2)),
            nn.Tanh(),
            nn.Conv2d(60, 40, 3, stride=2, padding=1),
        ),
        (8, 3, 2),
    ),
    "strided windows": (lambda: images(nn.Conv2d(1, 3, (2, 3), stride=(1, 2), padding=(1, 0))), (1, 5, 7)),
    "one dimension": (
        lambda: images(nn.Conv1d(2, 4, 3, padding="same", padding_mode="reflect"), nn.ReLU(), nn.Conv1d(4, 4, 2)),
        (2, 9),
    ),
    "same padding that is uneven": (lambda: images(nn.Conv2d(2, 3, (2, 4), padding="same")), (2, 5, 6)),
    "three dimensions": (
        lambda: images(nn.Conv3d(2, 4, 2, groups=2), nn.ReLU(), nn.Conv3d(4, 3, (1, 2, 2), stride=2)),
        (2, 4, 5, 4),
    ),
    "transposed": (
        lambda: images(
            nn.ConvTranspose2d(2, 4, 3, stride=2, output_padding=1), nn.Tanh(), nn.ConvTranspose2d(4, 2, 2, groups=2)
        ),
        (2, 3, 4),
    ),
    "transposed, one dimension": (lambda: images(nn.ConvTranspose1d(2, 4, 3, dilation=2, padding=1)), (2, 5)),
    "batch norm": (lambda: images(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)), (2, 6, 5)),
    "batch norm of vectors": (lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)), (4,)),
    "group norm": (lambda: images(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.PReLU(4)), (2, 6, 5)),
    "instance norm": (lambda: images(nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.PReLU()), (2, 6, 5)),
    "layer and rms norm": (
        lambda: nn.Sequential(nn.LayerNorm((3, 4)), nn.Linear(4, 5), nn.RMSNorm(5), nn.Flatten(), nn.Linear(15, 3)),
        (3, 4),
    ),
    "linear over positions": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(15, 3, bias=False)),
        (3, 4),
    ),
    "self-attention": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), nn.Flatten(), nn.Linear(40, 3)
        ),
        (5, 8),
    ),
    "cross-attention": (lambda: attention(batch_first=True), (5, 8)),
    "cross-attention, positions first": (lambda: attention(bias=False), (5, 8)),
    "vision transformer": (vision_transformer, (2, 4, 4)),
    "lstm": (lambda: recurrent(nn.LSTM(4, 6, 2, batch_first=True, bidirectional=True)), (5, 4)),
    "lstm with projection": (lambda: recurrent(nn.LSTM(4, 6, proj_size=3, bias=False)), (5, 4)),
    "gru": (lambda: recurrent(nn.GRU(4, 6, batch_first=True)), (5, 4)),
    "rnn": (lambda: recurrent(nn.RNN(4, 6, 2)), (5, 4)),
    "rnn with relu": (lambda: recurrent(nn.RNN(4, 6, nonlinearity="relu")), (5, 4)),
    "lstm cell": (lambda: cell(nn.LSTMCell(4, 6)), (3, 4)),
    "gru cell": (lambda: cell(nn.GRUCell(4, 6)), (3, 4)),
    "rnn cell": (lambda: cell(nn.RNNCell(4, 6)), (3, 4)),
    "tied": (tied, (4,)),
    "used twice": (
        lambda: Lambda(
            lambda self, x: self.head(self.layer(self.layer(x).tanh())), layer=nn.Linear(4, 4), head=nn.Linear(4, 3)
        ),
        (4,),
    ),
    "past its layer": (
        lambda: Lambda(
            lambda self, x: self.head(nn.functional.linear(self.layer(x), self.layer.weight)),
            layer=nn.Linear(4, 4),
            head=nn.Linear(4, 3),
        ),
        (4,),
    ),
    "matrix product": (
        lambda: Lambda(
            lambda self, x: torch.addmm(self.b, x @ self.w, self.v),
            w=parameter(4, 5),
            v=parameter(5, 3),
            b=parameter(3),
        ),
        (4,),
    ),
    "mixed uses": (
        lambda: Lambda(
            lambda self, x: self.head(self.layer(x) * self.layer.bias), layer=nn.Linear(4, 4), head=nn.Linear(4, 3)
        ),
        (4,),
    ),
    "shared convolution": (shared_convolution, (3, 6, 6)),
    "in place": (residual_in_place, (4,)),
    "items innermost": (items_innermost, (3, 4)),
    "unused": (
        lambda: Lambda(lambda self, x: self.layer(x), layer=nn.Linear(4, 3), idle=nn.Linear(4, 4)),
        (4,),
    ),
    "no effect": (
        lambda: Lambda(
            lambda self, x: self.layer(x) + 0 * self.idle(x).detach(), layer=nn.Linear(4, 3), idle=nn.Linear(4, 3)
        ),
        (4,),
    ),
    "without a graph": (without_a_graph, (4,)),
    "dictionary": (lambda: Lambda(lambda self, x: {"logits": self.layer(x)}, layer=nn.Linear(4, 3)), (4,)),
    "tuple of one": (lambda: Lambda(lambda self, x: (self.layer(x),), layer=nn.Linear(4, 3)), (4,)),
}
