# Made from client/label_loop.py by `make client`: change that one.
"""Active learning as a loop: ask what to label, ask somebody, tell the service, train now and then."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

from api_schemas.projects import Project
from api_schemas.suggest import Suggestion
from client.aio.job_calls import JobCalls
from client.aio.label_calls import LabelCalls
from client.aio.project_calls import ProjectCalls
from client.aio.suggest_calls import SuggestCalls
from client.aio.waiting import Answered, Told, asked, tell
from client.training import TrainSettings


@dataclass(frozen=True)
class Labeled:
    """One turn of the loop."""

    number: int  # from 1
    suggestion: Suggestion
    label: str | int | None  # None: skipped


Annotate = Callable[[Suggestion], Answered[str | int | None]]
OnLabel = Callable[[Labeled], Told]


class LabelLoop(ProjectCalls, SuggestCalls, LabelCalls, JobCalls):
    """Active learning in one call."""

    async def label_loop(
        self,
        project: str,
        annotate: Annotate,
        *,
        labels: int = 100,
        train_every: int = 0,
        stop_when_advised: bool = False,
        strategy: str | None = None,
        options: dict[str, Any] | None = None,
        annotator: str | None = None,
        on_label: OnLabel | None = None,
        **training: Unpack[TrainSettings],
    ) -> Project:
        """Label suggestions one by one until `labels` turns are done, or nothing is left; the project as it then is.

        `annotate` is given a suggestion and gives its class, by name or index, or None to skip it. With `train_every`
        a network is trained on the labels after every so many turns, and before the first where there is none; with
        `stop_when_advised` the loop ends when the service advises it. Raises what the client raises, and what
        `annotate` does.
        """
        if train_every and (await self.project(project)).checkpoint is None:
            await self.wait_for(await self.train(project, **training))
        for number in range(1, labels + 1):
            answer = await self.suggest(project, strategy=strategy, options=options, annotator=annotator)
            if not answer.suggestions:
                break
            suggestion = answer.suggestions[0]
            label = await asked(annotate, suggestion)
            if label is None:
                await self.skip(project, suggestion.item, annotator=annotator)
            else:
                await self.label(project, suggestion.item, label, annotator=annotator)
            await tell(on_label, Labeled(number, suggestion, label))
            if train_every and number % train_every == 0:
                await self.wait_for(await self.train(project, **training))
            if stop_when_advised and await self._advised(project):
                break
        return await self.project(project)

    async def _advised(self, project: str) -> bool:
        stopping = (await self.project(project)).stopping
        return stopping is not None and stopping.advised
