"""A project's kernel model from inside, and the labels that it rests on."""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from api_schemas import diagnostics as wire
from service.context import Context
from service.operations import projects
from store import held_out, insights, states
from store.tables import KernelState, Project, StateInsight

# Up to this many labels workers tell the condition number after every catch-up.
CONDITION_LABELS = 256


def show(context: Context, name: str) -> wire.Diagnostics:
    """Raises UnknownError."""
    with context.sessions.begin() as session:
        project = projects.find(session, name, context.caller)
        described = projects.describe(session, project)
        state = projects.active_state(session, project)
        told = None if state is None else insights.read(session, state.id)
        return wire.Diagnostics(
            label_seq=project.label_seq,
            kernel=None if state is None else states.public_id(state.id),
            spectrum=None if told is None or told.spectrum is None else wire.Spectrum.model_validate(told.spectrum),
            condition=_condition(state, told),
            jitter=0.0 if state is None else state.jitter,
            scores=None if told is None or told.scores is None else wire.Scores.model_validate(told.scores),
            classes=_classes(project, insights.labels_by_class(session, project.id), told),
            arrivals=[
                wire.Arrivals(at=span.at, labels=span.labels, skips=span.skips)
                for span in insights.arrivals(session, project.id)
            ],
            drift=wire.Drift(
                changed_predictions=None if state is None else state.changed_predictions,
                labels_since_checkpoint=described.labels_since_checkpoint,
                advice_codes=described.advice_codes,
            ),
            held_out=_held_out(session, project, state),
        )


def _classes(project: Project, labels: Mapping[int, int], told: StateInsight | None) -> list[wire.ClassBalance]:
    predicted: Sequence[int] | None = None if told is None else told.predicted
    if predicted is not None:
        # Classes that were added since are predicted for no candidate yet.
        predicted = [*predicted, *[0] * (len(project.classes) - len(predicted))]
    return [
        wire.ClassBalance.model_validate(
            {"class": name, "labels": labels.get(k, 0), "predicted": None if predicted is None else predicted[k]}
        )
        for k, name in enumerate(project.classes)
    ]


def _condition(state: KernelState | None, told: StateInsight | None) -> float | None:
    """The one after the last labels while they are few; that of the last refresh beyond."""
    if state is None:
        return None
    few = state.labeled_count <= CONDITION_LABELS and told is not None and told.condition is not None
    return told.condition if few and told is not None else state.condition


def _held_out(session: Session, project: Project, state: KernelState | None) -> wire.HeldOut | None:
    known = held_out.count(session, project.id)
    accuracy = None if state is None else state.held_out_accuracy
    return wire.HeldOut(labels=known, accuracy=accuracy) if known else None
