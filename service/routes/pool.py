"""Pools."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, File, Form, UploadFile

from api_schemas import projects as wire
from service.context import Context, Services
from service.idempotency import Asked, Once, OnceOnly
from service.operations import pool, uploads
from service.problems import InvalidError, declared
from service.routes.parameters import ProjectName
from service.routes.uploads import Owner

router = APIRouter(tags=["pool"])


def size_of(upload: UploadFile) -> int:
    """Bytes of an uploaded file. Raises InvalidError when there are none."""
    if not upload.size:
        raise InvalidError("empty_upload", f"the file {upload.filename!r} is empty")
    return upload.size


UploadField = Annotated[
    str | None, Form(max_length=64, description="id of a complete resumable upload, in place of the file")
]


@contextmanager
def sent(
    context: Context, owner: str, once: Once, said: Asked, *, field: str, file: UploadFile | None, upload: str | None
) -> Iterator[tuple[BinaryIO, int]]:
    """The file of a request and its size, whichever way it came; `said` is the rest of the request.

    Raises InvalidError, and as `uploads.taken` and `Once.replaying`.
    """
    if (file is None) == (not upload):
        raise InvalidError("invalid_request", f"{field}: send either the file, or the id of an upload as 'upload'")
    if file is not None:
        size = size_of(file)
        with once.asked(said, file.file).replaying():
            yield file.file, size
        return
    # A replay is given before the upload is looked for: the first time has used it up.
    with once.asked(said, upload or "").replaying(), uploads.taken(context, owner, upload or "") as opened:
        yield opened


@router.post("/projects/{name}/pool", status_code=201, responses=declared(400, 404, 409, 413, 423))
def add_to_pool(
    name: ProjectName,
    context: Services,
    once: OnceOnly,
    owner: Owner,
    file: Annotated[
        UploadFile | None,
        File(
            description="`.npz` with `x` (N, ...) and optional `ids` and `text` (N,); `.npy`; `.safetensors` with `x`; "
            "`.parquet` or Arrow, with `x` of lists or columns of numbers, optional `id` and `text`; `.zip` of pictures"
        ),
    ] = None,
    upload: UploadField = None,
    held_out: Annotated[bool, Form(description="items that are predicted and never suggested")] = False,
    image_size: Annotated[
        int | None,
        Form(ge=4, le=1024, description="of pictures: the side that the network gets, by default 32"),
    ] = None,
    attributes: Annotated[
        bool, Form(description="of tables: columns that are neither ids, texts nor features become attributes")
    ] = False,
) -> wire.PoolAdded:
    """Append items; more uploads append more. All of an upload is taken, or none."""
    fields = wire.PoolFields(held_out=held_out, **_given(image_size=image_size, attributes=attributes or None))
    with sent(context, owner, once, fields, field="file", file=file, upload=upload) as (opened, size):
        return pool.add(context, name, opened, size, once, fields)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
