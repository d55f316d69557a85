"""Expected error reduction: the entropy that a label is expected to leave, exactly and in tiles.

Source: [LA] "Making Look-Ahead Active Learning Strategies Feasible with Neural Tangent Kernels", NeurIPS 2022,
equation 2.
"""

import torch

from ntk.acquisition.lookahead.model import LookAhead

Tensor = torch.Tensor


def eer(look: LookAhead, probabilities: Tensor, temperature: float = 1.0) -> Tensor:
    """Minus the expected entropy (nats) of the updated predictions over the counted candidates, (m,) [LA eq. 2].

    `probabilities` (m, C) are p(y'|x'); updated predictions are the softmax of the updated outputs over the
    temperature T. All C labels of a pair cost one softmax: with z = (f(x) − W f(x')) / T the updated outputs over T
    are z + (W / T) e_y', so that only one term of the sums Z = Σ exp z and A = Σ z exp z is exchanged:
    H = log Z_y' − A_y' / Z_y'.
    """
    classes = look.outputs.shape[1]
    dtype = look.covariance.dtype
    outputs = (look.outputs / temperature).to(dtype)
    chances, weights = probabilities.to(dtype), look.weights()
    total = torch.zeros(look.size, dtype=torch.float64, device=outputs.device)
    for rows, effect in look.tiles(classes):
        z = outputs[rows, None, :] - effect[..., None] * outputs
        w = effect.div_(temperature)
        # With the largest of z and z + W at 0 no exponential overflows; entropy does not see the shift.
        z -= z.amax(dim=2, keepdim=True) + w.clamp(min=0)[..., None]
        raised = z + w[..., None]
        weight, above = z.exp(), raised.exp()
        first, second = weight.sum(dim=2, keepdim=True), (z * weight).sum(dim=2, keepdim=True)
        partition = (first - weight + above).clamp_(min=torch.finfo(dtype).tiny)
        moment = second - z * weight + raised * above
        entropies = (partition.log() - moment / partition).clamp_(min=0)
        total -= (weights[rows] @ (entropies * chances).sum(dim=2)).double()
    return total
