"""Diagnostics of a project, and the truth about its held-out items."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api_schemas import diagnostics as wire
from service.context import Context, Services
from service.operations import diagnostics, held_out
from service.problems import UnsupportedError, declared
from service.routes.labels import read_upload
from service.routes.parameters import ProjectName
from service.uploads.labels import read_csv, read_json_lines

router = APIRouter(tags=["projects"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/HeldOutLabels"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary", "description": "`.csv` or `.jsonl`"}},
                }
            },
            "text/csv": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}


@router.get("/projects/{name}/diagnostics", responses=declared(404))
def get_diagnostics(name: ProjectName, context: Services) -> wire.Diagnostics:
    """Spectrum, scores, class balance, arrivals, drift: for looking at; nothing rests on it."""
    return diagnostics.show(context, name)


@router.post("/projects/{name}/held-out-labels", responses=declared(400, 404, 413, 415), openapi_extra=_BODY)
async def put_held_out_labels(name: ProjectName, context: Services, request: Request) -> wire.HeldOutLabelsAccepted:
    """Say what held-out items truly are: all of them, or none. Sent again, nothing changes.

    They are no labels: no model is made from them. The accuracy on them is in the project, its curve and diagnostics.
    JSON, a multipart upload of `file` (CSV with columns item, label; or JSON lines), or CSV or JSON lines as the body.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return await run_in_threadpool(_put_json, context, name, await request.body())
    if kind == "multipart/form-data":
        _, data, kind = await read_upload(request)
    elif kind in {"text/csv", "application/x-ndjson", "application/jsonl"}:
        data = await request.body()
    else:
        raise UnsupportedError(
            "unsupported_media_type",
            "send application/json, multipart/form-data with a file, text/csv or application/x-ndjson",
        )
    return await run_in_threadpool(_put_file, context, name, data, kind)


def _put_json(context: Context, name: str, body: bytes) -> wire.HeldOutLabelsAccepted:
    try:
        parsed = wire.HeldOutLabels.model_validate_json(body)
    except ValidationError as error:
        # The same answer as for bodies that the framework parses.
        raise RequestValidationError(error.errors()) from error
    return held_out.put(context, name, parsed.labels)


def _put_file(context: Context, name: str, data: bytes, kind: str) -> wire.HeldOutLabelsAccepted:
    read = read_csv if kind == "text/csv" else read_json_lines
    return held_out.put(context, name, held_out.from_file(read(data)))
