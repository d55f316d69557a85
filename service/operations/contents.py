"""What people see of items: texts, pictures, numbers."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from api_schemas import projects as wire
from service import pictures
from service.context import Context
from service.decoding.shapes import layout_of
from service.operations import projects
from service.operations.suggest import check_known
from service.problems import ConflictError, InvalidError, UnknownError
from store import contents, pools
from store.errors import ArtifactError

ITEMS_MAX = 200
_VALUES_MAX = 256
# Part of every picture's ETag: another number once pictures are drawn otherwise.
_DRAWING = 2


@dataclass(frozen=True)
class _Place:
    """Where an item's numbers, and its text or picture, are: a row of two artifacts."""

    item: str
    shape: tuple[int, ...]
    array: str
    pack: str | None
    row: int


@dataclass(frozen=True)
class _Pool:
    """What an item's numbers are called, and the array of the largest upload, to compare them with."""

    columns: list[str] | None
    array: str


@dataclass(frozen=True)
class Picture:
    """A picture that can be made: its strong ETag is known before it is."""

    context: Context
    place: _Place
    size: int

    @property
    def etag(self) -> str:
        """The same for ever: neither an item nor an artifact changes."""
        return f'"{_hashed(self.place, str(self.size))[:32]}"'

    @property
    def version(self) -> str:
        """Which picture it is, whatever its size: another project of the same name may have another for the item."""
        return _version(self.place)

    def made(self) -> tuple[bytes, str]:
        """The bytes and their media type. Raises ConflictError `artifact_lost`."""
        artifacts, place = self.context.artifacts, self.place
        with _at_hand():
            if place.pack is not None:
                data = pictures.resized(contents.entry(artifacts, place.pack, place.row), self.size)
            else:
                data = pictures.draw(contents.values(artifacts, place.array, place.row), self.size)
        return data, pictures.media_type(data)


def _version(place: _Place) -> str:
    return _hashed(place, "any")[:16]


def _hashed(place: _Place, size: str) -> str:
    told = f"{place.pack or place.array} {place.row} {size} {_DRAWING}"
    return hashlib.sha256(told.encode()).hexdigest()


def of_items(context: Context, name: str, items: Sequence[str]) -> wire.Contents:
    """Contents in the order asked. Raises UnknownError, InvalidError, ConflictError."""
    if not 1 <= len(items) <= ITEMS_MAX:
        raise InvalidError("invalid_request", f"items: ask for 1 to {ITEMS_MAX} items at a time, not {len(items)}")
    pool, places = _places(context, name, items)
    with _at_hand():
        kinds = {place.pack: _kind(context, place.pack) for place in places}
        vectors = _vectors(context, pool, [place for place in places if _is_vector(place, kinds[place.pack])])
        return wire.Contents(
            contents=[vectors.get(place) or _content(context, name, place, kinds[place.pack]) for place in places]
        )


def picture(context: Context, name: str, item: str, size: int) -> Picture:
    """The picture of an item. Raises UnknownError, also `no_picture`, and ConflictError."""
    _, (place,) = _places(context, name, [item])
    with _at_hand():
        kind = _kind(context, place.pack)
    if kind == "image":
        return Picture(context, place, size)
    if kind is None and layout_of(place.shape) is not None:
        return Picture(context, place, size)
    what = "a text" if kind == "text" else f"{list(place.shape)} numbers"
    raise UnknownError(
        "no_picture", f"item {item!r} is {what}, not a picture: GET /projects/{name}/contents shows what it is"
    )


def _places(context: Context, name: str, items: Sequence[str]) -> tuple[_Pool, list[_Place]]:
    with context.sessions.begin() as session:
        project = projects.find(session, name, context.caller)
        known = pools.positions(session, project.id, list(set(items)))
        check_known(project, items, known)
        parts = pools.chunks(session, project.id)
        shape = tuple(project.input_shape or ())
        columns = pools.columns(session, project.id) if len(shape) == 1 and shape[0] <= _VALUES_MAX else None
    places = []
    for item in items:
        position = known[item][0]
        part = pools.chunk_of(parts, position)
        places.append(_Place(item, shape, part.artifact, part.contents, position - part.start))
    # Of several alike the first, so that it stays the same while small ones are added.
    return _Pool(columns, max(parts, key=lambda part: part.count).artifact), places


def _kind(context: Context, pack: str | None) -> contents.Kind | None:
    return None if pack is None else contents.kind_of(context.artifacts, pack)


def _content(context: Context, name: str, place: _Place, kind: contents.Kind | None) -> wire.Content:
    length = int(np.prod(place.shape))
    if kind == "text" and place.pack is not None:
        text = contents.entry(context.artifacts, place.pack, place.row).decode()
        return wire.Content(item=place.item, kind="text", text=text, length=length)
    path = f"/projects/{quote(name, safe='')}/image?item={quote(place.item, safe='')}&v={_version(place)}"
    return wire.Content(item=place.item, kind="image", image=path, length=length)


def _is_vector(place: _Place, kind: contents.Kind | None) -> bool:
    return kind is None and layout_of(place.shape) is None


def _vectors(context: Context, pool: _Pool, places: Sequence[_Place]) -> dict[_Place, wire.Content]:
    if not places:
        return {}
    length = int(np.prod(places[0].shape))
    chosen = np.rint(np.linspace(0, length - 1, min(length, _VALUES_MAX))).astype(np.int64)
    rows = [contents.values(context.artifacts, place.array, place.row).reshape(-1)[chosen] for place in places]
    typical = None
    if length <= _VALUES_MAX:
        # What an item is can be told without the others, whose file may be lost.
        with suppress(ArtifactError):
            typical = context.samples.places(context.artifacts, pool.array, np.stack(rows))
    return {
        place: wire.Content(
            item=place.item,
            kind="vector",
            # To be looked at: more digits would be most of the answer.
            values=[float(f"{number:.6g}") for number in row.tolist()],
            length=length,
            names=pool.columns,
            typical=None if typical is None else typical[index].round(4).tolist(),
        )
        for index, (place, row) in enumerate(zip(places, rows, strict=True))
    }


@contextmanager
def _at_hand() -> Iterator[None]:
    try:
        yield
    except ArtifactError as error:
        raise ConflictError("artifact_lost", f"{error}: send the pool's file again") from error
