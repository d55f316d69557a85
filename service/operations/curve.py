"""The learning curve, page by page."""

from api_schemas import projects as wire
from service.context import Context
from service.operations import projects
from store import curve, states


def page(context: Context, name: str, after_seq: int, limit: int) -> wire.Curve:
    """Points past `after_seq`. Raises UnknownError."""
    with context.sessions.begin() as session:
        project = projects.find(session, name, context.caller)
        found = curve.page(session, project.id, after_seq, limit)
        points = [
            wire.CurvePoint(
                label_seq=point.label_seq,
                labels=point.labeled_count,
                leave_one_out_accuracy=point.leave_one_out_accuracy,
                changed_predictions=point.changed_predictions,
                flipped=point.flipped,
                held_out_accuracy=point.held_out_accuracy,
                kernel=states.public_id(point.state_id),
                checkpoint=checkpoint,
                created_at=point.created_at,
            )
            for point, checkpoint in found
        ]
    return wire.Curve(points=points, next=points[-1].label_seq if len(points) >= limit else None)
