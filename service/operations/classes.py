"""Classes appended to a project while it is in use."""

from api_schemas import projects as wire
from service.context import Context
from service.operations import projects
from service.problems import ConflictError, InvalidError
from store import classes

_NAMED = 5


def add(context: Context, name: str, request: wire.ClassesAdd) -> wire.Project:
    """Raises UnknownError, ConflictError `class_exists`, InvalidError `too_many_classes`."""
    with context.sessions.begin() as session:
        # Locked: of two requests at once, the second sees what the first has added.
        project = projects.lock(session, name, context.caller)
        known = set(project.classes)
        if taken := [each for each in request.classes if each in known]:
            named = ", ".join(repr(each) for each in taken[:_NAMED])
            more = f" and {len(taken) - _NAMED} more" if len(taken) > _NAMED else ""
            raise ConflictError("class_exists", f"project {name!r} has class {named}{more} already: leave it out")
        if len(known) + len(request.classes) > wire.CLASSES_MAX:
            raise InvalidError(
                "too_many_classes",
                f"a project has at most {wire.CLASSES_MAX} classes: {name!r} has {len(known)}, and "
                f"{len(request.classes)} more were sent",
            )
        classes.append(session, project.id, request.classes)
        session.refresh(project)
        return projects.describe(session, project)
