"""How sharp the softmax of outputs should be.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2 (temperature scaling); here on
leave-one-out outputs of the labeled items, which the kernel model has in closed form, so that no item is held out.
"""

import math

import torch

Tensor = torch.Tensor
COLDEST, HOTTEST = 0.02, 20.0
_STEPS = 50


def temperature(outputs: Tensor, labels: Tensor) -> float:
    """T in [0.02, 20] for which softmax(outputs / T) gives labels (n,) the smallest mean cross-entropy.

    `outputs` (n, C) must come from models that have not seen the label of their own row. By the rule of succession
    one more label of any class is reckoned with: a handful of right answers is no proof of certainty. 1 without labels.
    """
    if len(labels) == 0:
        return 1.0
    outputs = outputs.double()
    doubt = 1 / (len(labels) + 1)
    observed = (1 - doubt) * outputs.gather(1, labels[:, None]).mean() + doubt * outputs.mean()

    def slope(inverse: float) -> float:
        """Derivative of the mean cross-entropy, which is convex in 1/T: mean output expected minus observed."""
        p = (outputs * inverse).softmax(dim=1)
        return float((p * outputs).sum(dim=1).mean() - observed)

    low, high = math.log(1 / HOTTEST), math.log(1 / COLDEST)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) < 0 else (low, middle)
    return math.exp(-(low + high) / 2)
