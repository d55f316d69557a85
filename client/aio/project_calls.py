# Made from client/project_calls.py by `make client`: change that one.
"""Projects, pools and items."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from api_schemas import projects as project_wire
from client.aio.calls import Calls, given, listed, path_of
from client.aio.resumable import OnBytes
from client.uploads import pool_file

if TYPE_CHECKING:
    from client.uploads import Array

# Items at a time: the longest ids still fit into an address.
_CONTENTS_MAX = 25


class ProjectCalls(Calls):
    """Projects, their pools and items."""

    async def create_project(
        self,
        name: str,
        classes: Sequence[str],
        *,
        kernel: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        labeling: Mapping[str, Any] | None = None,
    ) -> project_wire.Project:
        """A new project; `kernel`, `defaults` and `labeling` as the interface has them."""
        more = given(kernel=kernel, defaults=defaults, labeling=labeling)
        body = {"name": name, "classes": list(classes), **more}
        return await self._ask_once(project_wire.Project, "POST", "/projects", json=body)

    async def set_labeling(self, name: str, rule: str, overlap: int | None = None) -> project_wire.Project:
        """Choose how several annotators' opinions of an item make its label: latest, majority or overlap."""
        body = {"rule": rule, **given(overlap=overlap)}
        return await self._ask(project_wire.Project, "PATCH", path_of(name, "labeling"), repeatable=True, json=body)

    async def project(self, name: str) -> project_wire.Project:
        """One project."""
        return await self._ask(project_wire.Project, "GET", path_of(name))

    async def projects(self) -> AsyncIterator[project_wire.Project]:
        """Every project, page by page."""
        after: str | None = ""
        while after is not None:
            page = await self._ask(project_wire.ProjectList, "GET", "/projects", params={"after": after})
            for entry in page.projects:
                yield entry
            after = page.next

    async def delete_project(self, name: str) -> project_wire.DeletedProject:
        """Delete a project with its items, labels, checkpoints and jobs. It cannot be undone.

        Its name is free at once. Sent again after a lost connection, it does not hit another project of that name.
        """
        return await self._ask_once(project_wire.DeletedProject, "DELETE", path_of(name))

    async def add_classes(self, project: str, classes: Sequence[str]) -> project_wire.Project:
        """Append classes; those there are keep their indices."""
        return await self._ask(
            project_wire.Project, "POST", path_of(project, "classes"), json={"classes": list(classes)}
        )

    async def curve(self, project: str, after_seq: int = -1) -> AsyncIterator[project_wire.CurvePoint]:
        """The learning curve past a label's number, in the order of the labels, page by page."""
        after: int | None = after_seq
        while after is not None:
            query = {"after_seq": after, "limit": 1000}
            page = await self._ask(project_wire.Curve, "GET", path_of(project, "curve"), params=query)
            for entry in page.points:
                yield entry
            after = page.next

    async def upload_pool(
        self,
        project: str,
        data: "Path | str | Array",
        ids: Sequence[str] | None = None,
        *,
        held_out: bool = False,
        image_size: int | None = None,
        attributes: bool = False,
        on_bytes: OnBytes | None = None,
        resume: str | None = None,
    ) -> project_wire.PoolAdded:
        """Add items from a file as it is, or from an array (N, ...) with optional ids; `add_items` takes more.

        `image_size` is the side to which the pictures of a `.zip` are scaled for the network; with `attributes` the
        columns of a table that are no features are kept to filter by. Big files go in parts: `on_bytes` is told how far
        they are, and `resume` goes on with the upload that an InterruptedUploadError named.
        """
        form = pool_form(held_out, image_size) | ({"attributes": "true"} if attributes else {})
        with pool_file(data, ids) as opened:
            return await self._sent(
                project_wire.PoolAdded, path_of(project, "pool"), "file", opened, form, on_bytes, resume
            )

    async def items(
        self, project: str, state: str | None = None, *, where: Mapping[str, Any] | None = None
    ) -> AsyncIterator[project_wire.Item]:
        """Items in pool order, page by page; `where` is the interface's `filter`, over their attributes."""
        query: dict[str, Any] = {"after": -1, "limit": 1000, **given(state=state)}
        if where is not None:
            query["filter"] = json.dumps(where)
        while query["after"] is not None:
            page = await self._ask(project_wire.ItemPage, "GET", path_of(project, "items"), params=query)
            for entry in page.items:
                yield entry
            query["after"] = page.next

    async def item(self, project: str, item: str) -> project_wire.ItemDetail:
        """One item with what every annotator says of it, and its history."""
        return await self._ask(project_wire.ItemDetail, "GET", path_of(project, f"items/{quote(item, safe='')}"))

    async def contents(self, project: str, items: Sequence[str]) -> list[project_wire.Content]:
        """What items are, in the order asked: a picture, a text, or numbers of a vector."""
        found: list[project_wire.Content] = []
        for start in range(0, len(items), _CONTENTS_MAX):
            query = {"items": listed(items[start : start + _CONTENTS_MAX])}
            found += (
                await self._ask(project_wire.Contents, "GET", path_of(project, "contents"), params=query)
            ).contents
        return found

    async def picture(self, project: str, item: str, size: int = 96) -> bytes:
        """The picture of an item, PNG or JPEG, its longer side at most `size` pixels.

        Raises ApiError `no_picture` for an item that is none.
        """
        query = {"item": item, "size": size}
        return (await self._transport.send("GET", path_of(project, "image"), params=query)).content

    async def set_attributes(
        self, project: str, attributes: Mapping[str, Mapping[str, str | float | bool | None]]
    ) -> project_wire.AttributesUpdated:
        """Merge values by key into the attributes of items by id: all of them, or none. None removes a key.

        Safe to repeat: the same values again change nothing.
        """
        body = {"attributes": {item: dict(values) for item, values in attributes.items()}}
        return await self._ask(
            project_wire.AttributesUpdated, "PATCH", path_of(project, "items"), repeatable=True, json=body
        )


def pool_form(held_out: bool, image_size: int | None) -> dict[str, str]:
    """What is said with a file of items."""
    return {"held_out": "true" if held_out else "false"} | (
        {} if image_size is None else {"image_size": str(image_size)}
    )
