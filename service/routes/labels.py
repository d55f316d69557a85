"""Labels, one at a time or many at once, and the log."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile

from api_schemas import labels as wire
from api_schemas.common import ItemId, Name, Tag
from service.context import Context, Services
from service.group_commit import GroupCommit
from service.idempotency import Once, OnceOnly
from service.operations import labels
from service.operations.label_groups import Asked
from service.problems import InvalidError, UnsupportedError, declared
from service.uploads.labels import read_csv, read_json_lines

router = APIRouter(tags=["labels"])


async def _together(request: Request) -> GroupCommit[Asked, wire.LabelAccepted]:
    commits: GroupCommit[Asked, wire.LabelAccepted] = request.app.state.label_commits
    return commits


Together = Annotated[GroupCommit[Asked, wire.LabelAccepted], Depends(_together)]


@router.post("/label", status_code=201, responses=declared(400, 404, 409, 413))
async def add_label(
    request: wire.LabelRequest, context: Services, once: OnceOnly, together: Together
) -> wire.LabelAccepted:
    """Record what an annotator says of one item. It is on disk when this answers."""
    if once.key is None:
        return await together.submit((context, request))
    return await run_in_threadpool(_add_once, context, request, once)


def _add_once(context: Context, request: wire.LabelRequest, once: Once) -> wire.LabelAccepted:
    with once.asked(request).replaying():
        return labels.add(context, request, once)


_BULK_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/LabelsRequest"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["project", "file"],
                    "properties": {
                        "project": {"type": "string"},
                        "file": {"type": "string", "format": "binary", "description": "`.csv` or `.jsonl`"},
                    },
                }
            },
            "text/csv": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}


@router.post("/labels", status_code=201, responses=declared(400, 404, 409, 413, 415), openapi_extra=_BULK_BODY)
async def add_labels(
    context: Services,
    request: Request,
    once: OnceOnly,
    project: Annotated[str | None, Query(description="for bodies of CSV or JSON lines")] = None,
) -> wire.LabelsAccepted:
    """Record many labels: all of them, or none.

    JSON, a multipart upload of `project` and `file` (CSV with columns item, label; or JSON lines), or CSV or JSON
    lines as the body with `?project=`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return await run_in_threadpool(_add_json, context, await request.body(), once)
    if kind == "multipart/form-data":
        name, data, kind = await read_upload(request)
    elif kind in {"text/csv", "application/x-ndjson", "application/jsonl"}:
        name, data = project, await request.body()
    else:
        raise UnsupportedError(
            "unsupported_media_type",
            "send application/json, multipart/form-data with a file, text/csv or application/x-ndjson",
        )
    read = read_csv if kind == "text/csv" else read_json_lines
    try:
        checked = TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise InvalidError("invalid_request", "project: say which, as a form field or as ?project=") from error
    return await run_in_threadpool(_add_file, context, checked, read, data, once)


def _add_json(context: Context, body: bytes, once: Once) -> wire.LabelsAccepted:
    with once.asked(body).replaying():
        try:
            parsed = wire.LabelsRequest.model_validate_json(body)
        except ValidationError as error:
            # The same answer as for bodies that the framework parses.
            raise RequestValidationError(error.errors()) from error
        return labels.add_many(context, parsed.project, parsed.labels, once)


def _add_file(
    context: Context, project: str, read: Callable[[bytes], list[wire.LabelEntry]], data: bytes, once: Once
) -> wire.LabelsAccepted:
    with once.asked(project, data).replaying():
        return labels.add_many(context, project, read(data), once)


async def read_upload(request: Request) -> tuple[str | None, bytes, str]:
    """(project, file contents, kind) of a multipart upload. Raises InvalidError."""
    async with request.form(max_files=1, max_fields=10) as form:
        name, file = form.get("project"), form.get("file")
        if not isinstance(file, UploadFile):
            raise InvalidError("invalid_request", "file: a part with the labels, .csv or .jsonl, is missing")
        suffix = (file.filename or "").rpartition(".")[2].lower()
        kinds = {"csv": "text/csv", "jsonl": "application/x-ndjson", "ndjson": "application/x-ndjson"}
        if suffix not in kinds:
            raise InvalidError("unknown_format", f"the file {file.filename!r} is neither .csv nor .jsonl")
        return name if isinstance(name, str) else None, await file.read(), kinds[suffix]


@router.get("/labels", responses=declared(404))
def list_labels(
    context: Services,
    project: Annotated[Name, Query()],
    after_seq: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    annotator: Annotated[Tag | None, Query(description="only this annotator's events")] = None,
    item: Annotated[ItemId | None, Query(description="only this item's events")] = None,
) -> wire.LabelPage:
    """The label log, in order."""
    return labels.page(context, project, after_seq=after_seq, limit=limit, annotator=annotator, item=item)
