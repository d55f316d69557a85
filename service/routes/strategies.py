"""Strategies."""

from fastapi import APIRouter

from api_schemas import suggest as wire
from api_schemas.strategies import OPTIONS
from store.strategies import STRATEGIES

router = APIRouter(tags=["suggestions"])


@router.get("/strategies")
def list_strategies() -> wire.StrategyList:
    """Every strategy with the JSON schema of its options and what it costs. `auto` chooses among them."""
    return wire.StrategyList(
        strategies=[
            wire.Strategy(
                name=strategy.name,
                title=strategy.title,
                summary=strategy.summary,
                source=strategy.source,
                needs=list(strategy.needs),
                memory=strategy.memory,
                time=strategy.time,
                options=OPTIONS[strategy.name].model_json_schema(),
            )
            for strategy in STRATEGIES.values()
        ]
    )
