"""Tables as files, for uploads."""

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq


def parquet(columns: dict[str, Any] | pa.Table, **options: Any) -> bytes:
    made = io.BytesIO()
    pq.write_table(_table(columns), made, **options)
    return made.getvalue()


def arrow_file(columns: dict[str, Any] | pa.Table, rows: int | None = None, **options: Any) -> bytes:
    table, made = _table(columns), io.BytesIO()
    with pa.ipc.new_file(made, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return made.getvalue()


def arrow_stream(columns: dict[str, Any] | pa.Table, rows: int | None = None) -> bytes:
    table, made = _table(columns), io.BytesIO()
    with pa.ipc.new_stream(made, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return made.getvalue()


WRITERS: dict[str, Callable[..., bytes]] = {"parquet": parquet, "file": arrow_file, "stream": arrow_stream}


def _table(columns: dict[str, Any] | pa.Table) -> pa.Table:
    return columns if isinstance(columns, pa.Table) else pa.table(columns)
