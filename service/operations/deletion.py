"""Deleting a project: gone for everybody with one commit; workers remove what it had."""

from api_schemas import projects as wire
from service.context import Context
from service.idempotency import Once
from service.operations import jobs, projects
from store import deletion, labels


def delete(context: Context, name: str, once: Once) -> tuple[wire.DeletedProject, list[str]]:
    """(what was deleted, the connections to Label Studio that ended with it). Raises UnknownError."""
    with context.sessions.begin() as session:
        once.begin(session)
        # What others write for the project is in before this, or finds no project after it.
        project = projects.lock(session, name, context.caller, alone=True)
        labeled, _ = labels.counted(session, project.id)
        marked = deletion.mark(session, project)
        answer = wire.DeletedProject(
            project=name,
            items=marked.items,
            labels=labeled,
            label_events=marked.label_seq,
            checkpoints=marked.checkpoints,
            connections=len(marked.connections),
            jobs_cancelled=len(marked.ended) + marked.stopping,
        )
        # Not kept for as long as the project: a request that comes again must not look for another of its name.
        once.keep(session, answer, 202, project_id=None)
    for job_id in marked.ended:
        jobs.signal(context, job_id)
    return answer, marked.connections
