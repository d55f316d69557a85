"""Files of tables, opened: CSV, parquet, Arrow."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Unpack

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from client.sources.parts import Reading, Source, SourceError
from client.sources.tables import Opened, listed, table_source

CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".txt")
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc", ".arrows")
_HEAD_ROWS = 1000
_BLOCK = 8 << 20
_HEAD_BLOCK = 1 << 20
_DELIMITERS = ",;\t|"
_NULLS = pcsv.ConvertOptions().null_values  # empty, NA, N/A, NaN, null ...
_MISSING = [*_NULLS, "n.a.", "N.A.", "-"]  # among numbers; among words a "-" may well be a class
_NEARLY = 0.9  # share of a column's cells that makes it one of numbers


def read_table(path: Path | str, **reading: Unpack[Reading]) -> Source:
    """A CSV, parquet or Arrow file. Raises SourceError where it is none, or its columns do not make items."""
    return file_source(Path(path), Reading(**reading))


def file_source(path: Path, reading: Reading) -> Source:
    """As `read_table`."""
    try:
        return table_source(_opened(path, reading), reading)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def _opened(path: Path, reading: Reading) -> Opened:
    name = path.name.lower()
    if name.endswith(PARQUET):
        return _parquet(path)
    if name.endswith(ARROW):
        return _arrow(path)
    return _csv(path, reading)


def _parquet(path: Path) -> Opened:
    file = pq.ParquetFile(path)

    def batches(_: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
        with pq.ParquetFile(path) as again:
            for batch in again.iter_batches(batch_size=2000):
                yield pa.Table.from_batches([batch])

    with file:
        head = next(
            (pa.Table.from_batches([b]) for b in file.iter_batches(_HEAD_ROWS)), file.schema_arrow.empty_table()
        )
        return Opened(str(path), head, batches, file.metadata.num_rows)


def _arrow(path: Path) -> Opened:
    def batches(_: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
        with pa.memory_map(str(path)) as mapped:
            try:
                file = ipc.open_file(mapped)
            except pa.ArrowInvalid:
                mapped.seek(0)
                for batch in ipc.open_stream(mapped):
                    yield pa.Table.from_batches([batch])
                return
            for number in range(file.num_record_batches):
                yield pa.Table.from_batches([file.get_batch(number)])

    return Opened(str(path), _first(str(path), batches({})), batches)


def _first(name: str, batches: Iterator[pa.Table]) -> pa.Table:
    head = next(batches, None)
    if head is None:
        raise SourceError(f"{name} has no rows")
    return head.slice(0, _HEAD_ROWS)


def _csv(path: Path, reading: Reading) -> Opened:
    encoding = reading.get("encoding") or "utf-8"
    line = _first_line(path, encoding)
    delimiter = reading.get("delimiter") or _delimiter(line)
    named = not all(_is_number(cell) for cell in line.split(delimiter))
    names = [] if named else [f"f{number}" for number in range(len(line.split(delimiter)))]

    def batches(types: Mapping[str, pa.DataType], block: int = _BLOCK) -> Iterator[pa.Table]:
        reader = pcsv.open_csv(
            pa.input_stream(str(path), compression="gzip" if path.suffix == ".gz" else None),
            pcsv.ReadOptions(use_threads=False, block_size=block, encoding=encoding, column_names=names or None),
            pcsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pcsv.ConvertOptions(column_types=dict(types), null_values=_MISSING, strings_can_be_null=False),
        )
        for batch in reader:
            yield _words_missing(pa.Table.from_batches([batch]))

    def told(types: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
        try:
            yield from batches(types)
        except pa.ArrowInvalid as error:
            raise _wrong(path, error, batches, types) from error

    try:
        block = next(batches({}, _HEAD_BLOCK), None)
    except pa.ArrowInvalid as error:
        raise _wrong(path, error, batches, {}) from error
    if block is None:
        raise SourceError(f"{path} has no rows")
    if any(pa.types.is_binary(form) for form in block.schema.types):
        raise SourceError(f"{path} {_NO_TEXT}")
    return Opened(str(path), block.slice(0, _HEAD_ROWS), told, stray=_stray(block))


def _words_missing(table: pa.Table) -> pa.Table:
    """The table with nulls where words say that there are none."""
    for number, form in enumerate(table.schema.types):
        if pa.types.is_string(form):
            column = table.column(number)
            empty = pc.is_in(column, value_set=pa.array(_NULLS))
            kept = pc.if_else(empty, pa.scalar(None, form), column)
            table = table.set_column(number, table.schema.field(number), kept)
    return table


def _stray(block: pa.Table) -> dict[str, tuple[int, str]]:
    """By column of words of which nearly all are numbers: the first that is none, as (row from 1, word)."""
    found = {}
    for name, form in zip(block.schema.names, block.schema.types, strict=True):
        if not pa.types.is_string(form):
            continue
        cells = [(row, cell) for row, cell in enumerate(block[name].to_pylist(), 1) if _is_cell(cell)]
        others = [(row, cell) for row, cell in cells if not _is_number(cell)]
        if others and len(others) <= (1 - _NEARLY) * len(cells):
            found[name] = others[0]
    return found


def _is_cell(cell: str | None) -> bool:
    """Whether there is something that might be a number."""
    return cell is not None and cell.strip() not in _MISSING


def _first_line(path: Path, encoding: str) -> str:
    with pa.input_stream(str(path), compression="gzip" if path.suffix == ".gz" else None) as stream:
        start = stream.read(_HEAD_BLOCK)
    try:
        text = start.split(b"\n", 1)[0].decode(encoding if encoding != "utf-8" else "utf-8-sig").strip("\r")
    except (UnicodeDecodeError, LookupError) as error:
        raise SourceError(
            f"{path} is not text in {encoding}: say which it is in, --encoding latin-1 for one"
        ) from error
    if not text.strip():
        raise SourceError(f"{path} begins with an empty line: a table begins with the names of its columns")
    if "\0" in text:
        raise SourceError(f"{path} is not a text file: {_KNOWN}")
    return str(text)


_NO_TEXT = "is not text in utf-8: say which it is in, --encoding latin-1 for one"
_KNOWN = (
    "what is taken are folders of pictures, .zip of pictures, "
    f"{listed([*CSV[:2], *PARQUET[:1], *ARROW[:2], '.npz', '.npy', '.safetensors'])}"
)


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().strip('"'))
    except ValueError:
        return False
    return True


def _wrong(path: Path, error: pa.ArrowInvalid, batches: Any, types: Mapping[str, pa.DataType]) -> SourceError:
    """The error in words with row and column; numbers that are none are looked for anew, as words."""
    said = str(error)
    if "invalid UTF8" in said:
        return SourceError(f"{path} {_NO_TEXT}")
    numbers = [name for name, form in types.items() if form == pa.float64()]
    if "conversion error" in said.lower() and numbers:
        start = 0
        for batch in batches(dict.fromkeys(types, pa.string())):
            for name in numbers:
                for row, cell in enumerate(batch[name].to_pylist()):
                    if _is_cell(cell) and not _is_number(cell):
                        return SourceError(
                            f"{path}, row {start + row + 1}, column {name!r}: {cell!r} is no number: correct it, or "
                            "leave the column out with --features"
                        )
            start += len(batch)
    return SourceError(f"{path}: {said.removeprefix('CSV parse error: ')}; every row has as many cells as the first")
