"""Resumable uploads, by version 1.0 of the tus protocol: creation, expiration, termination."""

import base64
import binascii
import re
from email.utils import formatdate
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response

from service.context import Services
from service.operations import uploads
from service.problems import InvalidError, PreconditionError, UnsupportedError, declared
from store.uploads import Upload

VERSION = "1.0.0"
MEDIA_TYPE = "application/offset+octet-stream"
_METADATA_MAX = 4096
_KEY = re.compile(r"[!-+\--~]{1,128}")  # printable, neither space nor comma
_COUNT = r"^[0-9]{1,15}$"


def check_version(
    tus_resumable: Annotated[str | None, Header(description=f"`{VERSION}`", examples=[VERSION])] = None,
) -> None:
    """Raise PreconditionError unless the caller speaks our version."""
    if tus_resumable != VERSION:
        raise PreconditionError(
            "unsupported_version", f"send the header 'Tus-Resumable: {VERSION}'", headers={"Tus-Version": VERSION}
        )


def owner(context: Services) -> str:
    """Whose uploads a request may see: those begun with its key."""
    return context.caller.prefix or ""


def metadata(
    upload_metadata: Annotated[
        str | None,
        Header(
            max_length=_METADATA_MAX,
            description="pairs of a key and a value in base64, separated by commas: `filename cG9vbC5ucHo=`",
        ),
    ] = None,
) -> str:
    """The header as it came, checked. Raises InvalidError."""
    keys: set[str] = set()
    for pair in filter(None, (upload_metadata or "").split(",")):
        key, _, value = pair.strip(" ").partition(" ")
        if not _KEY.fullmatch(key) or key in keys:
            raise InvalidError("invalid_metadata", f"Upload-Metadata: {key[:50]!r} is no key, or is given twice")
        keys.add(key)
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidError("invalid_metadata", f"Upload-Metadata: the value of {key!r} is not base64") from error
    return upload_metadata or ""


Owner = Annotated[str, Depends(owner)]
UploadId = Annotated[str, Path(max_length=64, description="the last part of the upload's `Location`")]
Count = Annotated[str, Header(pattern=_COUNT)]

router = APIRouter(tags=["uploads"])
resumable = APIRouter(dependencies=[Depends(check_version)])
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@resumable.post(
    "/uploads",
    status_code=201,
    response_class=Response,
    responses=declared(400, 409, 412, 413, 507) | {201: {"description": "`Location` is the upload"}},
)
def create_upload(
    context: Services,
    owner: Owner,
    upload_length: Annotated[Count, Header(description="bytes of the whole file")],
    upload_metadata: Annotated[str, Depends(metadata)],
) -> Response:
    """Begin an upload of a known length; `PATCH` its `Location` until all of it is there.

    Then name it as `upload` in place of the file of a pool or a checkpoint. Left alone, it expires.
    """
    made = uploads.create(context, owner, int(upload_length), upload_metadata)
    return Response(status_code=201, headers={"Location": f"/uploads/{made.id}", **_headers(context, made)})


@resumable.head(
    "/uploads/{upload_id}",
    response_class=Response,
    responses=declared(404, 412) | {200: {"description": "how far it is"}},
)
def show_upload(upload_id: UploadId, context: Services, owner: Owner) -> Response:
    """How many bytes are on disk for good: `Upload-Offset` of `Upload-Length`."""
    found = uploads.find(context, owner, upload_id)
    headers = {"Upload-Length": str(found.length), "Cache-Control": "no-store", **_headers(context, found)}
    if found.metadata:
        headers["Upload-Metadata"] = found.metadata
    return Response(status_code=200, headers=headers)


@resumable.patch(
    "/uploads/{upload_id}",
    status_code=204,
    response_class=Response,
    responses=declared(400, 404, 408, 409, 412, 413, 415, 423, 507),
    openapi_extra=_BODY,
)
async def write_upload(
    upload_id: UploadId,
    context: Services,
    owner: Owner,
    request: Request,
    upload_offset: Annotated[Count, Header(description="where the upload stands")],
) -> Response:
    """Append bytes. Those that arrive before a connection is lost are kept."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MEDIA_TYPE:
        raise UnsupportedError("unsupported_media_type", f"send the bytes as {MEDIA_TYPE}")
    announced = request.headers.get("content-length")
    found = await uploads.write(
        context,
        owner,
        upload_id,
        int(upload_offset),
        int(announced) if announced is not None and announced.isdecimal() else None,
        request.stream(),
    )
    return Response(status_code=204, headers=_headers(context, found))


@resumable.delete("/uploads/{upload_id}", status_code=204, response_class=Response, responses=declared(404, 412, 423))
def remove_upload(upload_id: UploadId, context: Services, owner: Owner) -> Response:
    """Forget an upload."""
    uploads.remove(context, owner, upload_id)
    return Response(status_code=204, headers={"Tus-Resumable": VERSION})


@router.options("/uploads", status_code=204, response_class=Response, responses=declared())
def describe_uploads(context: Services) -> Response:
    """What of the protocol is spoken here."""
    return Response(
        status_code=204,
        headers={
            "Tus-Resumable": VERSION,
            "Tus-Version": VERSION,
            "Tus-Extension": "creation,expiration,termination",
            "Tus-Max-Size": str(context.settings.max_upload_bytes),
        },
    )


@router.options("/uploads/{upload_id}", status_code=204, response_class=Response, responses=declared())
def describe_upload(upload_id: UploadId, context: Services) -> Response:
    """The same for one upload, whether it exists or not."""
    return describe_uploads(context)


def _headers(context: Services, upload: Upload) -> dict[str, str]:
    return {
        "Tus-Resumable": VERSION,
        "Upload-Offset": str(upload.offset),
        "Upload-Expires": formatdate(context.uploads.expires(upload), usegmt=True),
    }


router.include_router(resumable)
