"""The label log and the items, as HTTP shows them, against what the clients were told."""

from collections.abc import Iterable, Sequence

from api_schemas.labels import LabelEvent
from api_schemas.projects import Item
from benchmarks.soak.record import Event

Folded = dict[str, tuple[str, str | None, int]]


def check_log(sent: Sequence[Event], log: Sequence[LabelEvent]) -> list[str]:
    """Every acknowledged event exactly once with its number; no gaps; nothing that nobody sent."""
    wrong = [
        f"entry {place} of the log has seq {entry.seq}"
        for place, entry in enumerate(log, start=1)
        if entry.seq != place
    ]
    found: dict[str, list[LabelEvent]] = {}
    for entry in log:
        found.setdefault(str(entry.event_id), []).append(entry)
    by_id = {event.event_id: event for event in sent}
    wrong += [f"{name} is in the log and was never sent" for name in found.keys() - by_id.keys()]
    for event in sent:
        entries = found.get(event.event_id, [])
        if len(entries) > 1:
            wrong.append(f"{event.event_id} is in the log {len(entries)} times: seqs {[e.seq for e in entries]}")
        if event.seq is not None and [entry.seq for entry in entries] != [event.seq]:
            wrong.append(
                f"{event.event_id} on {event.item} was acknowledged as seq {event.seq}: {[e.seq for e in entries]}"
            )
        said = (event.item, event.kind, event.label, event.annotator)
        wrong += [
            f"{event.event_id} said {said}, and the log has {written}"
            for entry in entries
            if (written := (entry.item, entry.kind, entry.label, entry.annotator)) != said
        ]
    return wrong


def check_order(sent: Sequence[Event]) -> list[str]:
    """Each client's acknowledged events have growing numbers, in the order in which it sent them."""
    last: dict[str, Event] = {}
    wrong = []
    for event in sent:
        if event.seq is None:
            continue
        before = last.get(event.client)
        if before is not None and before.seq is not None and before.seq >= event.seq:
            wrong.append(
                f"{event.client}: {event.event_id} has seq {event.seq}, and {before.event_id}, acknowledged before "
                f"it was sent, {before.seq}"
            )
        last[event.client] = event
    return wrong


def fold(log: Iterable[LabelEvent]) -> Folded:
    """How each item stands: the last that was said of it. Item -> (kind, label, seq)."""
    standing: Folded = {}
    for entry in log:
        standing[entry.item] = (entry.kind, entry.label, entry.seq)
    return standing


def check_items(items: Iterable[Item], standing: Folded) -> list[str]:
    """The items stand as the log says."""
    wrong = []
    for item in items:
        kind, label, seq = standing.get(item.item, ("withdraw", None, None))
        state = {"label": "labeled", "skip": "skipped", "withdraw": "unlabeled"}[kind]
        if (item.state, item.label, item.label_seq) != (state, label, seq):
            wrong.append(
                f"{item.item} is {item.state} {item.label} as of {item.label_seq}; the log says {state} {label} "
                f"as of {seq}"
            )
    return wrong
