"""Predictions as Label Studio wants them, and the score that makes its order ours."""

from collections.abc import Sequence
from typing import Any

# Versions of predictions that are ours begin so: an order that was not finished is known by it, and taken away.
VERSION_PREFIX = "lookahead-"
# What Label Studio calls serving the lowest score first, and serving in the order of import.
UNCERTAINTY = "Uncertainty sampling"
SEQUENTIAL = "Sequential sampling"
# Of what is not in the order: behind everything that is. An empty score would come before.
LAST = 1.0


def order_scores(count: int) -> list[float]:
    """One minus the percentile of each rank, best first: Label Studio serves the lowest score first, from 0 to < 1."""
    return [rank / count for rank in range(count)]


def region(from_name: str, to_name: str, choice: str, confidence: float) -> dict[str, Any]:
    """The choice of a pre-annotation."""
    return {
        "from_name": from_name,
        "to_name": to_name,
        "type": "choices",
        "value": {"choices": [choice]},
        "score": confidence,
    }


def prediction(result: list[dict[str, Any]], score: float, model_version: str) -> dict[str, Any]:
    """One prediction; without a region it says nothing of the class."""
    return {"result": result, "score": score, "model_version": model_version}


def nearest_probability(outputs: Sequence[float]) -> float:
    """The largest probability of the vector on the simplex that is nearest to the outputs (C,)."""
    ordered = sorted((output - max(outputs) for output in outputs), reverse=True)
    total, threshold = 0.0, 0.0
    for count, output in enumerate(ordered, start=1):
        total += output
        if output * count > total - 1:
            threshold = (total - 1) / count
    return ordered[0] - threshold
