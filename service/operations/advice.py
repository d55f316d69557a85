"""What to do next, as far as the numbers say: retrain, stop, or what is missing.

Source: [STOP] Bloodgood and Vijay-Shanker, "A Method for Stopping Active Learning Based on Stabilizing Predictions and
the Need for User-Adjustable Stopping", CoNLL 2009: stop when the predictions on unlabeled items have stopped changing,
how little being for the user to say. Here the live model is asked after every label instead of retrained models after
every batch.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_schemas import projects as wire
from api_schemas.suggest import SuggestDefaults
from store import curve, labels
from store.pools import Counts
from store.tables import Checkpoint, Item, KernelState, Project

# Past this share of changed predictions the linearization has left the checkpoint behind.
CHANGED_ADVISED = 0.3
# Stopping looks back over so many labels, or over this share of them if that is more.
_LABELS_MIN = 20
_LABELS_SHARE = 0.1


@dataclass(frozen=True)
class Standing:
    """A project as its advice looks at it."""

    project: Project
    defaults: SuggestDefaults
    counts: Counts
    checkpoint: Checkpoint | None
    state: KernelState | None
    preparing: bool
    since: int | None  # labels that the checkpoint does not know
    stopping: wire.Stopping | None


def labels_since(session: Session, project: Project, counts: Counts, checkpoint: Checkpoint | None) -> int | None:
    """Labels that the checkpoint was not trained on; for an upload, those since its first state was drawn."""
    if checkpoint is None:
        return None
    if "trained_on" in checkpoint.extras:
        return max(0, counts.labeled - int(checkpoint.extras["trained_on"]))
    first = sa.select(sa.func.min(KernelState.base_seq)).where(KernelState.checkpoint_id == checkpoint.id)
    return session.execute(
        sa.select(sa.func.count()).where(
            Item.project_id == project.id, Item.label.is_not(None), Item.label_seq > first.scalar_subquery()
        )
    ).scalar_one()


def stopping(
    session: Session, project: Project, defaults: SuggestDefaults, state: KernelState | None
) -> wire.Stopping | None:
    """The rule's figures and its verdict; None while there are too few labels under this state to tell."""
    if state is None:
        return None
    wanted = max(_LABELS_MIN, round(_LABELS_SHARE * state.labeled_count))
    recent = curve.recent(session, project.id, state.id, wanted)
    if recent is None:
        return None
    changed = recent.flipped / recent.labels
    rising = _rises(recent, state.labeled_count)
    every_class = labels.counted(session, project.id)[1] == len(project.classes)
    return wire.Stopping(
        labels=recent.labels,
        changed_per_label=changed,
        stop_below=defaults.stop_below,
        accuracy_before=recent.accuracy_before,
        accuracy=recent.accuracy,
        advised=changed < defaults.stop_below and not rising and every_class,
    )


def _rises(recent: curve.Recent, labeled: int) -> bool:
    """Whether leave-one-out accuracy grew by more than the standard error of a share among so many labels."""
    if recent.accuracy is None or recent.accuracy_before is None:
        return True
    error = (recent.accuracy * (1 - recent.accuracy) / labeled) ** 0.5
    return bool(recent.accuracy - recent.accuracy_before > max(error, 1 / labeled))


def advise(standing: Standing) -> list[tuple[wire.AdviceCode, str]]:
    """Codes with their sentences, most basic first."""
    counts, project = standing.counts, standing.project
    pool = counts.items - counts.held_out
    found: list[tuple[bool, wire.AdviceCode, str]] = [
        (pool == 0, "upload_pool", f"Upload a pool: POST /projects/{project.name}/pool."),
        (
            standing.checkpoint is None,
            "upload_checkpoint",
            "Upload a checkpoint to get more than random suggestions.",
        ),
        (
            standing.preparing,
            "preparing",
            "A kernel state is being prepared; suggestions rest on the one before until it is done.",
        ),
        (
            0 < counts.labeled < len(project.classes),
            "few_labels",
            f"There {'is 1 label' if counts.labeled == 1 else f'are {counts.labeled} labels'} "
            f"for {len(project.classes)} classes.",
        ),
        *_retrain(standing),
        _stop(standing),
        (
            pool > 0 and pool == counts.labeled + counts.skipped,
            "pool_exhausted",
            "Every item is labeled or skipped.",
        ),
    ]
    return [(code, text) for holds, code, text in found if holds]


def _retrain(standing: Standing) -> list[tuple[bool, wire.AdviceCode, str]]:
    after, since = standing.defaults.retrain_after, standing.since or 0
    changed = 0.0 if standing.state is None else standing.state.changed_predictions or 0.0
    known = len(standing.project.classes)
    if standing.checkpoint is not None:
        known = int(standing.checkpoint.options["classes"])
    return [
        (
            0 < after <= since,
            "retrain_labels",
            f"Retrain: {since} labels came since the checkpoint was made.",
        ),
        (
            changed > CHANGED_ADVISED,
            "retrain_changed",
            "Retrain: the labels have changed many predictions since the checkpoint was trained.",
        ),
        (
            known < len(standing.project.classes),
            "retrain_classes",
            f"Retrain: the checkpoint knows {known} of {len(standing.project.classes)} classes.",
        ),
    ]


def _stop(standing: Standing) -> tuple[bool, wire.AdviceCode, str]:
    found = standing.stopping
    if found is None or not found.advised:
        return False, "stop", ""
    return (
        True,
        "stop",
        f"Stop, or retrain and look again: the last {found.labels} labels changed {found.changed_per_label:.2%} of the "
        "predictions each, and accuracy no longer rises.",
    )
