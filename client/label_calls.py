"""Labels and their log."""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from api_schemas import labels as label_wire
from client.calls import Calls, given


class LabelCalls(Calls):
    """Labels and their log."""

    def label(
        self,
        project: str,
        item: str,
        label: str | int | None,
        *,
        annotator: str | None = None,
        event_id: str | None = None,
    ) -> label_wire.LabelAccepted:
        """Record a label, by class name or index. Safe to repeat: it carries an id, yours or one of its own."""
        return self._label(project, item, {"label": label}, annotator, event_id)

    def skip(
        self,
        project: str,
        item: str,
        *,
        own: bool = False,
        annotator: str | None = None,
        event_id: str | None = None,
    ) -> label_wire.LabelAccepted:
        """Say that the item is not to be labeled; with `own`, only that this annotator is not to get it."""
        return self._label(project, item, {"skip": True, **({"own": True} if own else {})}, annotator, event_id)

    def withdraw(
        self, project: str, item: str, *, annotator: str | None = None, event_id: str | None = None
    ) -> label_wire.LabelAccepted:
        """Take back the item's label or skip."""
        return self._label(project, item, {"label": None}, annotator, event_id)

    def _label(
        self, project: str, item: str, said: dict[str, Any], annotator: str | None, event_id: str | None
    ) -> label_wire.LabelAccepted:
        body = {"project": project, "item": item, **said, **given(annotator=annotator)}
        body["event_id"] = event_id or uuid.uuid4().hex
        return self._ask(label_wire.LabelAccepted, "POST", "/label", repeatable=True, json=body)

    def labels(
        self,
        project: str,
        entries: Iterable[tuple[str, str | int] | Mapping[str, Any]],
        *,
        annotator: str | None = None,
        key: str | None = None,
    ) -> label_wire.LabelsAccepted:
        """Record many labels: all of them, or none.

        Entries are (item, label), or what `POST /labels` takes as an entry; `annotator` is of those that name none.
        With a `key` of your own (an `Idempotency-Key`) a program that starts again may send them again.
        """
        said = given(annotator=annotator)
        rows = [
            said | (dict(entry) if isinstance(entry, Mapping) else {"item": entry[0], "label": entry[1]})
            for entry in entries
        ]
        body = {"project": project, "labels": rows}
        return self._ask_once(label_wire.LabelsAccepted, "POST", "/labels", key=key, json=body)

    def upload_labels(self, project: str, path: Path, *, key: str | None = None) -> label_wire.LabelsAccepted:
        """Record the labels in a CSV or JSON-lines file: all of them, or none. `key` as `labels` takes it."""
        with path.open("rb") as file:
            return self._ask_once(
                label_wire.LabelsAccepted,
                "POST",
                "/labels",
                key=key,
                files={"file": (path.name, file)},
                data={"project": project},
            )

    def label_log(
        self, project: str, after_seq: int = 0, *, annotator: str | None = None, item: str | None = None
    ) -> Iterator[label_wire.LabelEvent]:
        """The log past `after_seq`, page by page; of one annotator or one item, if asked."""
        after: int | None = after_seq
        while after is not None:
            query: dict[str, Any] = {"project": project, "after_seq": after, **given(annotator=annotator, item=item)}
            page = self._ask(label_wire.LabelPage, "GET", "/labels", params=query)
            yield from page.labels
            after = page.next
