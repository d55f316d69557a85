"""What `auto` chooses, by what is there. The figures behind the rule are in docs/label-efficiency.md."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from store import labels
from store.tables import Checkpoint, KernelState, Project

# Labels per class up to which covering the pool beats asking a network that hardly knows anything yet.
COVERED = 2
# Expected error reduction compares all pairs of candidates for each pick: at most so many candidates, and two classes,
# for which it was as good as look-ahead by change or better.
PAIRED = 1000
# Doubt in the label to come: look-ahead was better with it than without on every set it was tried on.
NOISE = 0.3


@dataclass(frozen=True)
class Situation:
    """What the rule looks at."""

    labels: int
    classes: int
    candidates: int  # at most so many are compared
    trained_here: bool  # the network knows nothing but this project's labels


@dataclass(frozen=True)
class Chosen:
    """A strategy, options that the request's own go over, and why, in words."""

    strategy: str
    options: dict[str, Any]
    reason: str


def choose(situation: Situation) -> Chosen:
    """The rule."""
    if situation.trained_here and situation.labels < COVERED * situation.classes:
        there = "there is no label yet" if situation.labels == 0 else f"{situation.labels} labels teach little"
        return Chosen(
            "typiclust",
            {},
            f"auto chose typiclust: {there}, and typical items of different clusters say most until there are "
            f"{COVERED} labels per class",
        )
    if situation.classes == 2 and situation.candidates <= PAIRED:
        return Chosen(
            "eer",
            {},
            "auto chose eer: with two classes and so few candidates there is time to ask which label would leave the "
            "least doubt about all others",
        )
    return Chosen(
        "mlmoc",
        {"noise": NOISE},
        "auto chose mlmoc: the network knows something, and look-ahead uses every label as it arrives",
    )


def situation(session: Session, project: Project) -> Situation:
    """How a project stands that has an active kernel state."""
    state = session.get_one(KernelState, project.active_state_id)
    labeled = labels.counted(session, project.id)[0]
    window = state.options["window"]
    unlabeled = project.item_count - labeled
    return Situation(
        labels=labeled,
        classes=len(project.classes),
        candidates=unlabeled if window == "all" else min(unlabeled, window),
        trained_here="trained_on" in session.get_one(Checkpoint, state.checkpoint_id).extras,
    )
