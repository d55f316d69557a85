"""Suggestions, predictions and strategies."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from api_schemas import suggest as suggest_wire
from client.calls import Calls, OnProgress, given, listed, once, path_of


class SuggestCalls(Calls):
    """Suggestions, predictions and the strategies behind them."""

    def suggest(
        self,
        project: str,
        count: int = 1,
        *,
        strategy: str | None = None,
        options: Mapping[str, Any] | None = None,
        annotator: str | None = None,
        lease_seconds: int | None = None,
        seed: int | None = None,
        exclude: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        per_class: int | Mapping[str, int] | None = None,
        random_share: float | None = None,
        min_distance: float | None = None,
        wait: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> suggest_wire.SuggestAnswer:
        """What to label next. Waits for the answer; one that takes more than `wait` seconds reports progress.

        `where` is the interface's `filter`, over the items' attributes.
        """
        more = given(
            strategy=strategy,
            options=options,
            annotator=annotator,
            lease_seconds=lease_seconds,
            seed=seed,
            exclude=None if exclude is None else list(exclude),
            filter=where,
            per_class=per_class,
            random_share=random_share,
            min_distance=min_distance,
        )
        body = {"project": project, "count": count, **more}
        sent = {"repeatable": True, "headers": once(), "json": body}
        return self._await(suggest_wire.SuggestAnswer, wait, on_progress, "POST", "/suggest", **sent)

    def predictions(
        self,
        project: str,
        items: Sequence[str],
        source: Literal["linearized", "network"] = "linearized",
        *,
        wait: int | None = None,
    ) -> suggest_wire.PredictionsAnswer:
        """Outputs for items, in the order asked."""
        query = {"items": listed(items), "source": source}
        path = path_of(project, "predictions")
        return self._await(suggest_wire.PredictionsAnswer, wait, None, "GET", path, params=query)

    def strategies(self) -> list[suggest_wire.Strategy]:
        """Every strategy."""
        return self._ask(suggest_wire.StrategyList, "GET", "/strategies").strategies
