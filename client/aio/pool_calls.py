# Made from client/pool_calls.py by `make client`: change that one.
"""Items from wherever they are: folders, tables, arrays, datasets."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from api_schemas import projects as project_wire
from api_schemas.diagnostics import HELD_OUT_LABELS_MAX
from client.aio.calls import path_of
from client.aio.insight_calls import InsightCalls
from client.aio.label_calls import LabelCalls
from client.aio.project_calls import ProjectCalls, pool_form
from client.aio.resumable import OnBytes
from client.aio.waiting import Told, each, tell
from client.errors import ApiError
from client.sources.adding import ItemsAdded, check_known, classes_of, label_entries, whole_file
from client.sources.choose import as_source
from client.sources.packing import packed
from client.sources.parts import Part, Reading, SourceError

OnItems = Callable[[int, int | None], Told]  # items so far, items in all where that is known


class PoolCalls(ProjectCalls, LabelCalls, InsightCalls):
    """Items from wherever they are."""

    async def add_items(
        self,
        project: str,
        data: Any,
        *,
        send_labels: bool | None = None,
        held_out: bool = False,
        create: bool = False,
        classes: Sequence[str] | None = None,
        add_classes: bool = False,
        go_on: bool = False,
        on_items: OnItems | None = None,
        on_bytes: OnBytes | None = None,
        resume: str | None = None,
        **reading: Unpack[Reading],
    ) -> ItemsAdded:
        """Add what a path, array, tensor, table, dataset, loader or list of texts holds, in parts of constant size.

        With `send_labels` its labels are recorded too (without, only those given as `labels`), those of `held_out`
        items as `held_out_labels` does it; with `create` the project is made once the first part is read, of `classes`
        or of the labels' values (one of the same classes that has no items is taken as it is); `add_classes` appends
        classes that the project has not. After an interruption, `go_on` passes over the parts that are in the pool. How
        columns are read is said by `reading`, or guessed; `said` of the answer tells how. A file that the service reads
        itself goes as it is, with `on_bytes` and `resume` as in `upload_pool`. Raises SourceError, which names file,
        row and column, and what the client raises.
        """
        path = whole_file(data, reading, labeled=bool(send_labels))
        if path is not None:
            if create:
                await self._create(project, classes_of(None, str(path), classes), go_on=go_on)
            size = reading.get("image_size")
            whole = await self.upload_pool(
                project, path, held_out=held_out, image_size=size, on_bytes=on_bytes, resume=resume
            )
            return ItemsAdded(added=whole.added, items=whole.items)
        source = as_source(data, Reading(**reading))
        send_labels = reading.get("labels") is not None if send_labels is None else send_labels
        done = ItemsAdded(said=list(source.said))
        first: int | None = None  # of items without ids, which are numbered
        async for part in each(source.parts()):
            if first is None:  # what cannot be read leaves no empty project behind
                if create:
                    names = classes_of(source.classes, source.name, classes)
                    if send_labels and not add_classes:
                        ids = part.ids or [str(row) for row in range(part.rows)]
                        check_known(label_entries(ids, part.labels), names, project, source.name, add=False)
                    await self._create(project, names, go_on=go_on)
                found = await self.project(project)
                done.classes, done.items = found.classes, found.items
                first = 0 if go_on else found.items
            ids = part.ids or [str(first + row) for row in range(part.rows)]
            first += part.rows
            entries = label_entries(ids, part.labels) if send_labels else []
            await self._prepare_classes(project, entries, done, source.name, add=add_classes)
            if go_on and await self._has(project, ids):
                done.passed_over += part.rows
            else:
                await self._add(project, part, ids, done, held_out=held_out, image_size=source.image_size)
            await self._add_attributes(project, part, ids)
            if entries:
                done.labels += await self._record(project, entries, held_out=held_out)
            await tell(on_items, done.added + done.passed_over, source.rows)
        if first is None:
            raise SourceError(f"{source.name} has no items")
        return done

    async def _create(self, project: str, classes: Sequence[str], *, go_on: bool) -> None:
        """Make the project, or go on with one of the same classes that a refused upload left empty."""
        try:
            await self.create_project(project, classes)
        except ApiError as error:
            if error.code != "project_exists":
                raise
            found = await self.project(project)
            if not go_on and (found.items or set(found.classes) != set(classes)):
                raise

    async def _has(self, project: str, ids: list[str]) -> bool:
        """Whether a part is in the pool: all of it went in with its last item, or nothing."""
        try:
            await self.item(project, ids[-1])
        except ApiError as error:
            if error.code != "unknown_item":
                raise
            return False
        return True

    async def _add(
        self, project: str, part: Part, ids: list[str], done: ItemsAdded, *, held_out: bool, image_size: int | None
    ) -> None:
        form = pool_form(held_out, image_size if part.pictures is not None else None)
        path, opened = path_of(project, "pool"), packed(part, ids)
        answer = await self._sent(project_wire.PoolAdded, path, "file", opened, form, None, None)
        done.added += part.rows
        done.items = answer.items

    async def _add_attributes(self, project: str, part: Part, ids: list[str]) -> None:
        said = {item: values for item, values in zip(ids, part.attributes or (), strict=False) if values}
        if said:
            await self.set_attributes(project, said)

    async def _record(self, project: str, entries: Sequence[Mapping[str, str]], *, held_out: bool) -> int:
        """How many labels were taken."""
        if not held_out:
            return (await self.labels(project, entries)).accepted
        accepted = 0
        for start in range(0, len(entries), HELD_OUT_LABELS_MAX):
            some = [(entry["item"], entry["label"]) for entry in entries[start : start + HELD_OUT_LABELS_MAX]]
            accepted += (await self.held_out_labels(project, some)).accepted
        return accepted

    async def _prepare_classes(
        self, project: str, entries: Sequence[Mapping[str, str]], done: ItemsAdded, name: str, *, add: bool
    ) -> None:
        unknown = check_known(entries, done.classes, project, name, add=add)
        if unknown:
            done.classes = (await self.add_classes(project, unknown)).classes
