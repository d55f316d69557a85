"""A part as the file that the service takes: an `.npz`, a `.zip` of pictures, or with texts an Arrow file."""

import io
import zipfile

from client.sources.parts import Part


def packed(part: Part, ids: list[str]) -> tuple[str, io.BytesIO]:
    """(file name, file) of a part; `ids` are those of its items."""
    out = io.BytesIO()
    if part.pictures is not None:
        # They are compressed already.
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name, picture in zip(ids, part.pictures, strict=True):
                # A date of its own would make other bytes of the same pictures.
                archive.writestr(zipfile.ZipInfo(name), picture)
        out.seek(0)
        return "pool.zip", out
    assert part.x is not None
    if part.texts is not None:
        _arrow(out, part, part.texts, ids)
        return "pool.arrow", out
    import numpy as np

    arrays = {"x": part.x, "ids": np.array(ids, dtype=str)}
    if part.columns is not None:
        arrays["columns"] = np.array(part.columns, dtype=str)
    np.savez(out, **arrays)  # type: ignore[arg-type]
    out.seek(0)
    return "pool.npz", out


def _arrow(out: io.BytesIO, part: Part, texts: list[str], ids: list[str]) -> None:
    """Texts of any length side by side, which an array of strings cannot hold well."""
    import numpy as np
    import pyarrow as pa

    assert part.x is not None
    rows = np.ascontiguousarray(part.x.reshape(part.rows, -1), dtype=np.float32)
    x = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    table = pa.table({"id": ids, "text": texts, "x": x})
    with pa.ipc.new_file(out, table.schema) as file:
        file.write_table(table)
    out.seek(0)
