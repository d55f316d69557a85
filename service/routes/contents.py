"""What people see of items."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response

from api_schemas import projects as wire
from api_schemas.common import ItemId
from service.context import Services
from service.operations import contents
from service.problems import declared
from service.routes.parameters import ProjectName
from service.routes.predictions import item_ids

router = APIRouter(tags=["contents"])

PICTURE_TYPES = ("image/png", "image/jpeg")
# For ever, but by the asker's own browser alone; and not for another key in the same browser. Under an address that
# says which picture it is: a project may be deleted, and another of its name have another picture.
_CACHED = {"Cache-Control": "private, max-age=31536000, immutable", "Vary": "Authorization"}
_ASKED_ANEW = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}
# Opened by itself a picture is a document: one that may do nothing.
_INERT = {"Content-Security-Policy": "default-src 'none'; sandbox"}


@router.get("/projects/{name}/contents", responses=declared(404, 409))
def get_contents(name: ProjectName, context: Services, items: Annotated[list[str], Depends(item_ids)]) -> wire.Contents:
    """What up to 200 items are: a picture, a text, or a vector's numbers. In the order asked."""
    return contents.of_items(context, name, items)


@router.get(
    "/projects/{name}/image",
    response_class=Response,
    responses=declared(404, 409)
    | {
        200: {
            "description": "the picture, PNG or JPEG",
            "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in PICTURE_TYPES},
        },
        304: {"description": "the picture is as the caller has it"},
    },
)
def get_image(
    name: ProjectName,
    context: Services,
    item: Annotated[ItemId, Query(description="the item's id")],
    size: Annotated[int, Query(ge=16, le=512, description="most pixels of the longer side")] = 96,
    v: Annotated[
        str | None,
        Query(max_length=32, description="which picture it is, as the address that GET .../contents gives has it"),
    ] = None,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Response:
    """The picture of an item. Under the address that its contents give it never changes: keep it for ever."""
    picture = contents.picture(context, name, item, size)
    headers = {"ETag": picture.etag, **(_CACHED if v == picture.version else _ASKED_ANEW)}
    if _matches(if_none_match, picture.etag):
        return Response(status_code=304, headers=headers)
    data, kind = picture.made()
    return Response(data, headers={**headers, **_INERT}, media_type=kind)


def _matches(asked: str | None, etag: str) -> bool:
    given = [tag.strip().removeprefix("W/") for tag in (asked or "").split(",")]
    return "*" in given or etag in given
