"""What goes with adding items, wherever it waits: classes, labels, and what was sent."""

import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from client.sources.parts import Reading, SourceError

_AS_THEY_ARE = {".npy", ".npz", ".safetensors", ".zip"}
_MEMBERS = {"x.npy", "ids.npy", "text.npy", "columns.npy"}


class ItemsAdded(BaseModel):
    """What was sent."""

    added: int = 0
    passed_over: int = 0  # items that were in the pool already
    items: int = 0  # in the pool now
    labels: int = 0
    classes: list[str] = []  # the project's, with those that were added
    said: list[str] = []  # what was guessed of the columns


def whole_file(data: Any, reading: Reading, *, labeled: bool) -> Path | None:
    """The path of a file that the service reads as it is; None for what is read here."""
    if not isinstance(data, str | Path):
        return None
    path = Path(data)
    said = {name for name, value in reading.items() if value is not None} - {"image_size"}
    if path.suffix.lower() not in _AS_THEY_ARE or said or labeled or not path.is_file():
        return None
    if path.suffix.lower() == ".npz":
        try:
            with zipfile.ZipFile(path) as archive:
                return path if set(archive.namelist()) <= _MEMBERS else None
        except zipfile.BadZipFile as error:
            raise SourceError(f"{path} is damaged or cut short: {error}") from error
    return path


def classes_of(found: Callable[[], list[str]] | None, name: str, given: Sequence[str] | None) -> list[str]:
    """The classes of a new project: those given, or the labels' values. Raises SourceError where nothing says them."""
    if given is not None:
        return list(given)
    names = [] if found is None else found()
    if len(names) < 2:
        seen = f"only one class, {names[0]!r}" if names else "no labels"
        raise SourceError(f"{name} has {seen}, and a project needs two classes at least: name them, --classes a,b")
    return names


def label_entries(ids: Sequence[str], labels: Sequence[str | None] | None) -> list[dict[str, str]]:
    """Labels as `POST /labels` takes them. The same ones again, after an interruption, are recorded once."""
    return [
        {
            "item": item,
            "label": label,
            "event_id": "items-" + hashlib.sha256(f"{item}\0{label}".encode()).hexdigest()[:32],
        }
        for item, label in zip(ids, labels or (), strict=labels is not None)
        if label is not None
    ]


def check_known(
    entries: Sequence[Mapping[str, str]], classes: Sequence[str], project: str, name: str, *, add: bool
) -> list[str]:
    """Classes that the project has not, where they may be added. Raises SourceError where they may not."""
    known = set(classes)
    unknown = sorted({entry["label"] for entry in entries} - known)
    if unknown and not add:
        item = next(entry["item"] for entry in entries if entry["label"] == unknown[0])
        few = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
        raise SourceError(
            f"{name}: item {item!r} is labeled {unknown[0]!r}, which is no class of {project} ({few}): "
            "--add-classes (add_classes=True) appends it"
        )
    return unknown
