"""Suggestions, predictions and strategies."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from api_schemas import suggest as suggest_wire
from client.calls import Calls, OnProgress, given, once, path_of


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
        wait: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> suggest_wire.SuggestAnswer:
        """What to label next. Waits for the answer; one that takes more than `wait` seconds reports progress."""
        more = given(strategy=strategy, options=options, annotator=annotator, lease_seconds=lease_seconds, seed=seed)
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
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(items)
        query = {"items": row.getvalue(), "source": source}
        path = path_of(project, "predictions")
        return self._await(suggest_wire.PredictionsAnswer, wait, None, "GET", path, params=query)

    def strategies(self) -> list[suggest_wire.Strategy]:
        """Every strategy."""
        return self._ask(suggest_wire.StrategyList, "GET", "/strategies").strategies
