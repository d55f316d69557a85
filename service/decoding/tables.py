"""Tables, Parquet and Arrow, as the numbers of items, their texts and their attributes: some rows at a time."""

import json
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from api_schemas.filters import Changes
from service.decoding import columns
from service.decoding.columns import Columns
from service.decoding.order import Decoded, Order, RefusedError, Rows, check_contents
from store.contents import Packer

TEXT_MAX = 100_000  # bytes of an item's text
_ITEM_MAX = 10_000_000  # numbers of an item
_BLOCK = 8 << 20
_ROWS_MAX = 1024
_ID_BYTES_MAX = 4 * 512
_THRIFT_STRING_MAX, _THRIFT_ENTRIES_MAX = 64 << 20, 5_000_000
_CHANGES: TypeAdapter[dict[str, Any]] = TypeAdapter(Changes)
Numbers = npt.NDArray[Any]


def decode(order: Order, file: BinaryIO, array: BinaryIO, contents: BinaryIO, lines: IO[str]) -> Decoded:
    """Write the numbers of all rows, their texts and their attributes. Raises RefusedError."""
    try:
        return _Table(order, file, array, contents, lines).decoded()
    except MemoryError:
        raise
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a disk without room; the library's own have no number
        raise RefusedError(
            "truncated_upload", f"the {order.kind} file is damaged or cut short: {str(error)[:500]}"
        ) from error


class _Table:
    def __init__(self, order: Order, file: BinaryIO, array: BinaryIO, contents: BinaryIO, lines: IO[str]) -> None:
        self._order, self._file, self._lines = order, file, lines
        self._rows, self._packer = Rows(array, order), Packer(contents, "text")
        self._ids: list[Any] = []

    def decoded(self) -> Decoded:
        schema = self._schema()
        use = columns.sort(schema, attributes=self._order.attributes)
        for batch in self._batches(use):
            self._take(use, batch)
        if not self._rows.items:
            raise RefusedError("wrong_shape", "the table has no rows")
        self._rows.close()
        self._packer.close()
        ids = self._ids if use.ids is not None else None
        return Decoded(
            self._rows.items,
            ids,
            contents=use.text is not None,
            attributes=bool(use.attributes),
            columns=None if use.nested else use.features,
        )

    # Reading

    def _schema(self) -> pa.Schema:
        if self._order.kind == "parquet":
            self._parquet = pq.ParquetFile(
                self._file,
                pre_buffer=False,
                buffer_size=1 << 20,
                thrift_string_size_limit=_THRIFT_STRING_MAX,
                thrift_container_size_limit=_THRIFT_ENTRIES_MAX,
            )
            if self._parquet.metadata.num_rows > self._order.max_items:
                raise self._too_many(self._parquet.metadata.num_rows)
            return self._parquet.schema_arrow
        # Mapped: a batch that is not compressed is read where it lies.
        mapped = pa.memory_map(f"/dev/fd/{self._file.fileno()}")
        if self._file.peek(6)[:6] == b"ARROW1":  # type: ignore[attr-defined]
            opened = pa.ipc.open_file(mapped)
            self._arrow: Iterator[pa.RecordBatch] = (
                opened.get_batch(index) for index in range(opened.num_record_batches)
            )
        else:
            opened = pa.ipc.open_stream(mapped)
            self._arrow = iter(opened)
        return opened.schema

    def _batches(self, use: Columns) -> Iterator[pa.RecordBatch]:
        """Few rows at a time: as many as are in a block, by the first of them."""
        if self._order.kind == "parquet":
            step = self._step(use, next(self._parquet.iter_batches(1, columns=use.wanted, use_threads=False), None))
            yield from self._parquet.iter_batches(step, columns=use.wanted, use_threads=False)
            return
        step = 0
        for whole in self._arrow:
            batch = whole.select(use.wanted)
            batch.validate(full=True)  # its places are the file's word only
            step = step or self._step(use, batch.slice(0, 1))
            for start in range(0, batch.num_rows, step):
                yield batch.slice(start, step)

    def _step(self, use: Columns, first: pa.RecordBatch | None) -> int:
        if first is None or not first.num_rows or not use.nested:
            return max(1, min(_ROWS_MAX, _BLOCK // (8 * len(use.features))))
        numbers = int(self._nested(use.features[0], first)[0].size)
        return max(1, min(_ROWS_MAX, _BLOCK // (8 * max(1, numbers))))

    def _too_many(self, items: int) -> RefusedError:
        return RefusedError(
            "pool_too_large",
            f"the table has {items} rows; an upload may hold {self._order.max_items}: send it in parts",
            413,
        )

    # Taking

    def _take(self, use: Columns, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        if self._rows.items + batch.num_rows > self._order.max_items:
            raise self._too_many(self._rows.items + batch.num_rows)
        values = self._nested(use.features[0], batch) if use.nested else self._flat(use, batch)
        if not self._rows.shape:
            self._rows.begin(values.shape[1:], use.dtype)
        elif values.shape[1:] != self._rows.shape:
            raise RefusedError(
                "wrong_shape",
                f"column 'x': row {self._rows.items} has shape {list(values.shape[1:])}, and those before it "
                f"{list(self._rows.shape)}",
            )
        if use.text is not None:
            for text in self._texts(use.text, batch, TEXT_MAX, "missing_value"):
                self._packer.add(text.encode())
            check_contents(self._order, self._packer)
        if use.ids is not None:
            self._ids += self._texts(use.ids, batch, _ID_BYTES_MAX, "invalid_ids")
        if use.attributes:
            self._note(use, batch)
        self._rows.add(values)

    def _flat(self, use: Columns, batch: pa.RecordBatch) -> Numbers:
        made = np.empty((batch.num_rows, len(use.features)), dtype=use.dtype)
        for place, name in enumerate(use.features):
            made[:, place] = self._numbers(name, _stored(batch.column(name)), np.arange(batch.num_rows))
        return made

    def _nested(self, name: str, batch: pa.RecordBatch) -> Numbers:
        """Lists of equal lengths as an array (rows, ...)."""
        array, shape = _stored(batch.column(name)), [batch.num_rows]
        while columns.is_list(array.type):
            rows = np.repeat(np.arange(batch.num_rows), len(array) // max(1, batch.num_rows))
            self._check_present(name, array, rows)
            if pa.types.is_fixed_size_list(array.type):
                length = array.type.list_size
            else:
                lengths = array.value_lengths().to_numpy(zero_copy_only=False)
                length = int(lengths[0]) if len(lengths) else 0
                if (lengths != length).any():
                    row = self._rows.items + int(rows[int(np.flatnonzero(lengths != length)[0])])
                    raise RefusedError(
                        "wrong_shape", f"column {name!r}: row {row} has another length than the rows before it"
                    )
            shape.append(length)
            if not 1 <= np.prod(shape[1:], dtype=float) <= _ITEM_MAX:
                raise RefusedError("item_too_large", f"an item has 1 to {_ITEM_MAX} numbers, not {shape[1:]}", 413)
            array = _stored(array.flatten())
        rows = np.repeat(np.arange(batch.num_rows), len(array) // max(1, batch.num_rows))
        return self._numbers(name, array, rows).reshape(shape)

    def _numbers(self, name: str, array: pa.Array, rows: npt.NDArray[np.int64]) -> Numbers:
        """Finite numbers; `rows` says of which row of the batch each is."""
        self._check_present(name, array, rows)
        values: Numbers = array.to_numpy(zero_copy_only=False)
        if values.dtype.kind == "f":
            fine = np.abs(values) <= np.finfo(np.float32).max
            if not fine.all():
                row = self._rows.items + int(rows[int(np.flatnonzero(~fine)[0])])
                raise RefusedError(
                    "not_finite",
                    f"column {name[:200]!r}, row {row}: NaN, infinite or too large; every input must be finite",
                )
        return values

    def _check_present(self, name: str, array: pa.Array, rows: npt.NDArray[np.int64]) -> None:
        if array.null_count:
            row = self._rows.items + int(rows[int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])])
            raise RefusedError("missing_value", f"column {name[:200]!r}, row {row}: the value is missing (null)")

    def _texts(self, name: str, batch: pa.RecordBatch, most: int, code: str) -> list[str]:
        array = _stored(batch.column(name))
        if array.null_count:
            row = self._rows.items + int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
            raise RefusedError(code, f"column {name!r}, row {row}: the value is missing (null)")
        if pa.types.is_integer(array.type):
            return [str(value) for value in array.to_pylist()]
        return self._strings(name, array, most, code)

    def _strings(self, name: str, array: pa.Array, most: int, code: str) -> list[Any]:
        """Strings, nulls among them; a long one is refused before it is repeated."""
        known = array.dictionary if pa.types.is_dictionary(array.type) else array
        longest = pc.max(pc.binary_length(known.cast(pa.large_string()))).as_py() or 0
        if longest > most:
            raise RefusedError(
                code if code == "invalid_ids" else "invalid_table",
                f"column {name[:200]!r}, rows {self._rows.items} to {self._rows.items + len(array) - 1}: a string has "
                f"{longest} bytes; {most} is the most",
            )
        found: list[Any] = array.to_pylist()
        return found

    def _note(self, use: Columns, batch: pa.RecordBatch) -> None:
        """A line of JSON for each row: attributes that are there."""
        by_name = {}
        for name in use.attributes:
            array = _stored(batch.column(name))
            is_text = columns.is_text(array.type)
            by_name[name] = self._strings(name, array, TEXT_MAX, "invalid_table") if is_text else array.to_pylist()
        for row in range(batch.num_rows):
            values = {name: found[row] for name, found in by_name.items() if not _absent(found[row])}
            try:
                _CHANGES.validate_python(values)
            except ValidationError as error:
                entry = error.errors()[0]
                raise RefusedError(
                    "invalid_table",
                    f"row {self._rows.items + row}: attribute {'.'.join(map(str, entry['loc']))[:200]}: "
                    f"{entry['msg'].removeprefix('Value error, ')[:500]}",
                ) from error
            self._lines.write(json.dumps(values) + "\n")


def _absent(value: Any) -> bool:
    return value is None or value != value  # NaN is how pandas writes a missing number


def _stored(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array
