"""Checkpoints."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Response, UploadFile
from pydantic import ValidationError

from api_schemas import jobs as wire
from api_schemas.checkpoints import Manifest
from service.context import Services
from service.idempotency import OnceOnly
from service.operations import checkpoints
from service.operations.jobs import links
from service.problems import InvalidError, declared
from service.routes.parameters import ProjectName
from service.routes.pool import UploadField, sent
from service.routes.uploads import Owner

router = APIRouter(tags=["checkpoints"])

_MANIFEST_MAX = 1 << 20


def read_manifest(part: UploadFile | str) -> Manifest:
    """The `manifest` part, sent as a field or as a file. Raises InvalidError."""
    text = part if isinstance(part, str) else part.file.read(_MANIFEST_MAX + 1)
    if len(text) > _MANIFEST_MAX:
        raise InvalidError("invalid_manifest", f"the manifest is longer than {_MANIFEST_MAX} bytes")
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(place) for place in first["loc"])
        raise InvalidError("invalid_manifest", f"{where}{': ' if where else ''}{first['msg']}") from error


@router.post("/projects/{name}/checkpoints", status_code=202, responses=declared(400, 404, 409, 413, 423))
def add_checkpoint(
    name: ProjectName,
    context: Services,
    response: Response,
    once: OnceOnly,
    owner: Owner,
    manifest: Annotated[UploadFile | str, Form(description="JSON: architecture, options and perhaps loss and kernel")],
    weights: Annotated[
        UploadFile | None,
        File(description="`.safetensors` or a `.pt` state dict, with the architecture's tensors"),
    ] = None,
    upload: UploadField = None,
) -> wire.Job:
    """Upload a checkpoint. It is active once the job has prepared its kernel state."""
    said = read_manifest(manifest)
    with sent(context, owner, once, said, field="weights", file=weights, upload=upload) as (opened, size):
        job = checkpoints.add(context, name, opened, size, said, once)
    response.headers.update(links(job.id))
    return job
