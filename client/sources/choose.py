"""Whatever somebody has, as a source: told by its path, or by what it can do."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from client.sources.parts import Embed, Reading, Source, SourceError

_ARRAYS = (".npy", ".npz")


def as_source(data: Any, reading: Reading | None = None) -> Source:
    """A path, an array, a tensor, a table, a dataset, a loader or a list of texts as a source. Raises SourceError."""
    reading = reading or Reading()
    if isinstance(data, Source):
        return data
    if isinstance(data, str | Path):
        return _of_path(Path(data), reading)
    for what, make in _KINDS:
        if what(data):
            return make(data, reading)
    raise SourceError(
        f"{type(data).__name__} is nothing that items can be read from: give a path, an array, a tensor, a table, a "
        "dataset, a loader, or a list of texts"
    )


def _of_path(path: Path, reading: Reading) -> Source:
    if path.is_dir():
        from client.sources.pictures import folder_source

        return folder_source(path, reading)
    if not path.exists():
        raise SourceError(f"there is no file or folder {path}")
    if path.suffix.lower() in _ARRAYS:
        return _of_arrays(path, reading)
    if path.suffix.lower() == ".safetensors":
        from safetensors.numpy import load_file

        found = load_file(path)
        if "x" not in found:
            raise SourceError(f"{path} has no tensor x; its tensors are {', '.join(found)}")
        return _array(found["x"], reading, str(path))
    from client.sources.files import file_source

    return file_source(path, reading)


def _of_arrays(path: Path, reading: Reading) -> Source:
    import numpy as np

    from client.sources.arrays import npz_source

    if path.suffix.lower() == ".npz":
        return npz_source(path, reading)
    try:
        return _array(np.load(path, mmap_mode="r", allow_pickle=False), reading, str(path))
    except (OSError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path} cannot be read: {error}") from error


def _array(data: Any, reading: Reading, name: str = "the array") -> Source:
    from client.sources.arrays import array_source

    return array_source(data, reading, name)


def _texts(data: Any, reading: Reading) -> Source:
    from client.sources.arrays import text_source

    return text_source(data, reading)


def _dataset(data: Any, reading: Reading) -> Source:
    from client.sources.arrays import dataset_source

    return dataset_source(data, reading)


def _hugging_face(data: Any, reading: Reading) -> Source:
    """A dataset of the library `datasets`: a table, whose features say which columns are classes and pictures."""
    from client.sources.files import _first
    from client.sources.tables import Opened, table_source

    def batches(_: Mapping[str, Any]) -> Iterator[Any]:
        yield from data.with_format("arrow").iter(batch_size=1000)

    features = data.features or {}
    classes = {name: list(kind.names) for name, kind in features.items() if hasattr(kind, "names")}
    rows = len(data) if hasattr(data, "__len__") else None
    return table_source(Opened("the dataset", _first("the dataset", batches({})), batches, rows, classes), reading)


def _table(data: Any, reading: Reading) -> Source:
    """A data frame or table of any library that speaks Arrow."""
    import pyarrow as pa

    from client.sources.tables import Opened, table_source

    table = data if isinstance(data, pa.Table) else pa.table(data)

    def batches(_: Mapping[str, Any]) -> Iterator[Any]:
        for start in range(0, len(table), 2000):
            yield table.slice(start, 2000)

    return table_source(Opened("the table", table.slice(0, 1000), batches, len(table)), reading)


def _splits(data: Any, reading: Reading) -> Source:
    raise SourceError(f"this holds several datasets: give one of them, data[{next(iter(data), 'train')!r}] for one")


def _is_texts(data: Any) -> bool:
    return isinstance(data, list | tuple) and len(data) > 0 and all(isinstance(text, str) for text in data)


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Reading], Source]], ...] = (
    (lambda data: isinstance(data, dict), _splits),
    (lambda data: hasattr(data, "features") and hasattr(data, "with_format"), _hugging_face),
    (lambda data: hasattr(data, "__arrow_c_stream__"), _table),
    (_is_texts, _texts),
    (lambda data: hasattr(data, "__array__") or isinstance(data, list | tuple), _array),
    (lambda data: hasattr(data, "__getitem__") or hasattr(data, "__iter__"), _dataset),
)


def embed_function(named: str) -> Embed:
    """The function that MODULE:FUNCTION names, as the command line has it. Raises SourceError."""
    module, _, name = named.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SourceError(
            f"{named!r} names no function: give MODULE:FUNCTION, the module where Python finds it ({error})"
        ) from error
    return cast(Embed, found)
