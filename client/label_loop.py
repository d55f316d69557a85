"""Active learning as a loop: ask what to label, ask somebody, tell the service, train now and then."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

from api_schemas.projects import Project
from api_schemas.suggest import Suggestion
from client.job_calls import JobCalls
from client.label_calls import LabelCalls
from client.project_calls import ProjectCalls
from client.suggest_calls import SuggestCalls
from client.training import TrainSettings
from client.waiting import Answered, Told, asked, tell


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

    def label_loop(
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
        if train_every and self.project(project).checkpoint is None:
            self.wait_for(self.train(project, **training))
        for number in range(1, labels + 1):
            answer = self.suggest(project, strategy=strategy, options=options, annotator=annotator)
            if not answer.suggestions:
                break
            suggestion = answer.suggestions[0]
            label = asked(annotate, suggestion)
            if label is None:
                self.skip(project, suggestion.item, annotator=annotator)
            else:
                self.label(project, suggestion.item, label, annotator=annotator)
            tell(on_label, Labeled(number, suggestion, label))
            if train_every and number % train_every == 0:
                self.wait_for(self.train(project, **training))
            if stop_when_advised and self._advised(project):
                break
        return self.project(project)

    def _advised(self, project: str) -> bool:
        stopping = self.project(project).stopping
        return stopping is not None and stopping.advised
