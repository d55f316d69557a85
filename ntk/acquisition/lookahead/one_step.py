"""One-step look-ahead: a single gradient step instead of training to the end.

Source: [LA] "Making Look-Ahead Active Learning Strategies Feasible with Neural Tangent Kernels", NeurIPS 2022,
figure 1b (a comparison row).
"""

import torch

from ntk.acquisition.lookahead.model import row_tiles

Tensor = torch.Tensor


def one_step(gram: Tensor, items: Tensor, outputs: Tensor) -> Tensor:
    """Change of the candidates' outputs by one gradient step on each with its predicted label, (m,).

    The step on half the squared loss at (x', y') with learning rate 1 changes f(x) by K(x, x') (y' − f(x')): the
    score is ‖y' − f(x')‖ Σ_x |K(x, x')|. `gram` (N, N), `items` (m,) candidates in it, `outputs` (m, C).
    """
    sums = torch.zeros(len(items), dtype=torch.float64, device=gram.device)
    for rows in row_tiles(len(items), len(items)):
        sums[rows] = gram[items[rows]][:, items].abs().double().sum(dim=1)
    residual = torch.nn.functional.one_hot(outputs.argmax(dim=1), outputs.shape[1]).double() - outputs
    length: Tensor = torch.linalg.vector_norm(residual, dim=1)
    return length * sums
