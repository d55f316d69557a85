"""How several annotators' opinions make one label: the rule of a project, changed at any time."""

from sqlalchemy.orm import Session

from api_schemas import projects as wire
from service.context import Context
from service.operations import projects
from service.problems import ConflictError
from store import jobs, opinions, states, suggestions
from store.opinions import Rule
from store.tables import Project


def change(context: Context, name: str, labeling: wire.Labeling) -> wire.Project:
    """Set the rule and count the opinions given so far by it: all of it or nothing.

    Raises UnknownError, ConflictError `project_busy`.
    """
    with context.sessions.begin() as session:
        # Locked against labels, and against new jobs, whose rows refer to this one: whatever job there is, is seen.
        project = projects.lock(session, name, context.caller, alone=True)
        stored = labeling.model_dump(exclude_none=True)
        if stored != project.labeling:
            project.labeling = stored
            if project.label_seq > 0:
                _count_anew(session, project)
            session.flush()
            session.refresh(project)
        return projects.describe(session, project)


def _count_anew(session: Session, project: Project) -> None:
    running = jobs.open_of_kind(session, project.id, "prepare") or jobs.open_of_kind(session, project.id, "train")
    if running is not None:
        # It has read labels by the old rule, and no event would tell it of the new ones.
        raise ConflictError(
            "project_busy",
            f"{running.id} is working with the labels as they are: wait for it or cancel it",
            job=running.id,
            headers={"Retry-After": "2"},
        )
    if opinions.refold(session, project.id, Rule.of(project.labeling)) == 0:
        return
    suggestions.resolve_settled(session, project.id)
    if project.active_state_id is not None:
        # Labels changed without an event: workers meet a state that they do not know, and label it from the start.
        states.activate(session, project.id, states.without_labels(session, project.active_state_id))
