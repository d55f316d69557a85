"""Strategies."""

from fastapi import APIRouter

from api_schemas import suggest as wire

router = APIRouter(tags=["suggestions"])

_LOOK_AHEAD = (
    "Mohamadi, Bae and Sutherland: Making Look-Ahead Active Learning Strategies Feasible with Neural Tangent "
    "Kernels, NeurIPS 2022, equation 13"
)
_TEXTBOOK = "Settles: Active Learning Literature Survey, 2009"
_STRATEGIES = {
    "mlmoc": (
        "Most likely model output change",
        "The item whose predicted label would change the model's outputs over all candidates most.",
        _LOOK_AHEAD,
        ["checkpoint"],
    ),
    "random": ("Random", "Uniform without replacement; works before any checkpoint.", "the yardstick", []),
    "entropy": ("Entropy", "The largest entropy of the softmax of the outputs.", _TEXTBOOK, ["checkpoint"]),
    "margin": ("Margin", "The smallest gap between the two largest outputs.", _TEXTBOOK, ["checkpoint"]),
    "least_confidence": (
        "Least confidence",
        "The smallest softmax probability of the predicted class.",
        _TEXTBOOK,
        ["checkpoint"],
    ),
}


@router.get("/strategies")
def list_strategies() -> wire.StrategyList:
    """Every strategy with the JSON schema of its options. `auto` chooses among them."""
    return wire.StrategyList(
        strategies=[
            wire.Strategy.model_validate(
                {
                    "name": name,
                    "title": title,
                    "summary": summary,
                    "source": source,
                    "needs": needs,
                    "options": wire.OPTIONS[name].model_json_schema(),
                }
            )
            for name, (title, summary, source, needs) in _STRATEGIES.items()
        ]
    )
