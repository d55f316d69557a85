"""Functions that take several parameters at once, taken apart into those that have rules."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from ntk.capture.recorder import DeclinedError, Handler, Recorder
from ntk.capture.rules import linear, linear_rows

Tensor = torch.Tensor
State = tuple[Tensor, ...]
Step = Callable[[Tensor, Tensor, State], State]  # (input's gates, state's gates, state) -> state


def multi_head_attention(
    recorder: Recorder,
    query: Tensor,  # (L, B, E)
    key: Tensor,  # (S, B, E)
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Projections, attention, projection. Learned extra keys, and dropout while training, have no rule."""
    unusual = any(extra is not None for extra in (bias_k, bias_v, static_k, static_v)) or add_zero_attn
    if unusual or query.ndim != 3 or (training and dropout_p > 0):
        raise DeclinedError
    width = query.shape[-1]
    if use_separate_proj_weight:
        if q_proj_weight is None or k_proj_weight is None or v_proj_weight is None or in_proj_bias is not None:
            raise DeclinedError
        pairs = zip((query, key, value), (q_proj_weight, k_proj_weight, v_proj_weight), strict=True)
        q, k, v = (linear(recorder, a, weight) for a, weight in pairs)
    elif in_proj_weight is None:
        raise DeclinedError
    elif query is key and key is value:
        q, k, v = linear(recorder, query, in_proj_weight, in_proj_bias).chunk(3, dim=-1)
    else:
        q, k, v = (
            linear_rows(recorder, a, in_proj_weight, in_proj_bias, part * width, (part + 1) * width)
            for part, a in enumerate((query, key, value))
        )
    q, k, v = (part.unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3) for part in (q, k, v))  # (B, heads, L, E/heads)
    scores = (q @ k.mT) * q.shape[-1] ** -0.5
    scores = _masked(scores, attn_mask, key_padding_mask)
    weights = scores.softmax(dim=-1)
    attended = (weights @ v).permute(2, 0, 1, 3).flatten(2)
    output = linear(recorder, attended, out_proj_weight, out_proj_bias)
    if not need_weights:
        return output, None
    return output, weights.mean(dim=1) if average_attn_weights else weights


def _masked(scores: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None) -> Tensor:
    """Scores (B, heads, L, S) with masks added; True in a boolean mask means: not to be attended to."""

    def added(mask: Tensor) -> Tensor:
        if mask.dtype == torch.bool:
            return torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(mask, float("-inf"))
        return mask.to(scores.dtype)

    if attn_mask is not None:
        mask = added(attn_mask)
        scores = scores + (mask.view(scores.shape) if mask.ndim == 3 else mask)
    if key_padding_mask is not None:
        scores = scores + added(key_padding_mask)[:, None, None]
    return scores


def _lstm_step(x: Tensor, h: Tensor, state: State) -> State:
    i, f, g, o = (x + h).chunk(4, dim=-1)
    cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def _gru_step(x: Tensor, h: Tensor, state: State) -> State:
    (x_reset, x_update, x_new), (h_reset, h_update, h_new) = x.chunk(3, dim=-1), h.chunk(3, dim=-1)
    update = (x_update + h_update).sigmoid()
    new = (x_new + (x_reset + h_reset).sigmoid() * h_new).tanh()
    return ((1 - update) * new + update * state[0],)


def _tanh_step(x: Tensor, h: Tensor, _: State) -> State:
    return ((x + h).tanh(),)


def _relu_step(x: Tensor, h: Tensor, _: State) -> State:
    return ((x + h).relu(),)


def _recurrent(step: Step) -> Handler:
    """All layers and directions of a recurrent network, one time step after the other."""

    def run(
        recorder: Recorder,
        input: Tensor,  # noqa: A002
        hx: Tensor | State,
        params: Any,
        has_biases: bool = True,
        num_layers: int = 1,
        dropout: float = 0.0,
        train: bool = False,
        bidirectional: bool = False,
        batch_first: bool = False,
    ) -> tuple[Tensor, ...]:
        if not isinstance(params, list) or (train and dropout > 0):
            raise DeclinedError  # packed sequences come with their batch sizes in second place
        x = input.transpose(0, 1) if batch_first else input
        first = hx if isinstance(hx, tuple) else (hx,)
        directions = 2 if bidirectional else 1
        per_layer = len(params) // (num_layers * directions)
        last: list[State] = []
        for layer in range(num_layers):
            outputs = []
            for direction in range(directions):
                k = layer * directions + direction
                weights = params[k * per_layer : (k + 1) * per_layer]
                state = tuple(part[k] for part in first)
                found, state = _direction(recorder, step, x, state, weights, has_biases, reverse=direction == 1)
                outputs.append(found)
                last.append(state)
            x = torch.cat(outputs, dim=-1)
        finals = tuple(torch.stack(parts) for parts in zip(*last, strict=True))
        return (x.transpose(0, 1) if batch_first else x, *finals)

    return run


def _direction(
    recorder: Recorder, step: Step, x: Tensor, state: State, weights: list[Tensor], biases: bool, *, reverse: bool
) -> tuple[Tensor, State]:
    """One layer in one direction over x (T, B, d)."""
    input_weight, state_weight = weights[:2]
    input_bias, state_bias = weights[2:4] if biases else (None, None)
    projection = weights[-1] if len(weights) in (3, 5) else None
    gates = linear(recorder, x, input_weight, input_bias)
    outputs: list[Tensor] = []
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        state = step(gates[t], linear(recorder, state[0], state_weight, state_bias), state)
        if projection is not None:
            state = (linear(recorder, state[0], projection), *state[1:])
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if reverse else outputs), state


def _cell(step: Step) -> Handler:
    """One step of a recurrent network."""

    def run(
        recorder: Recorder,
        input: Tensor,  # noqa: A002
        hx: Tensor | State,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor | None = None,
        b_hh: Tensor | None = None,
    ) -> Tensor | State:
        state = hx if isinstance(hx, tuple) else (hx,)
        state = step(linear(recorder, input, w_ih, b_ih), linear(recorder, state[0], w_hh, b_hh), state)
        return state if len(state) > 1 else state[0]

    return run


COMPOSITE: dict[Callable[..., Any], Handler] = {
    functional.multi_head_attention_forward: multi_head_attention,
    torch.lstm: _recurrent(_lstm_step),
    torch.gru: _recurrent(_gru_step),
    torch.rnn_tanh: _recurrent(_tanh_step),
    torch.rnn_relu: _recurrent(_relu_step),
    torch.lstm_cell: _cell(_lstm_step),
    torch.gru_cell: _cell(_gru_step),
    torch.rnn_tanh_cell: _cell(_tanh_step),
    torch.rnn_relu_cell: _cell(_relu_step),
}
