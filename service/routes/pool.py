"""Pools."""

from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile

from api_schemas import projects as wire
from service.context import Services
from service.idempotency import OnceOnly
from service.operations import pool
from service.problems import InvalidError, declared
from service.routes.parameters import ProjectName

router = APIRouter(tags=["pool"])


def size_of(upload: UploadFile) -> int:
    """Bytes of an uploaded file. Raises InvalidError when there are none."""
    if not upload.size:
        raise InvalidError("empty_upload", f"the file {upload.filename!r} is empty")
    return upload.size


@router.post("/projects/{name}/pool", status_code=201, responses=declared(400, 404, 409, 413))
def add_to_pool(
    name: ProjectName,
    context: Services,
    once: OnceOnly,
    file: Annotated[
        UploadFile,
        File(description="`.npz` with `x` (N, ...) and optional `ids` (N,), `.npy`, or `.safetensors` with `x`"),
    ],
    held_out: Annotated[bool, Form(description="items that are predicted and never suggested")] = False,
) -> wire.PoolAdded:
    """Append items; more uploads append more. All of an upload is taken, or none."""
    size = size_of(file)
    with once.asked(held_out, file.file).replaying():
        return pool.add(context, name, file.file, size, once, held_out=held_out)
