"""What processes and tables take: for finding leaks."""

import contextlib
import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

_PAGE = os.sysconf("SC_PAGE_SIZE")


def of_processes(pids: dict[str, int]) -> dict[str, dict[str, float]]:
    """Resident mebibytes, open files and threads of each process that runs."""
    found = {}
    for name, pid in sorted(pids.items()):
        process = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError):
            found[name] = {
                "resident_mib": round(int((process / "statm").read_text().split()[1]) * _PAGE / 2**20, 1),
                "open_files": len(list((process / "fd").iterdir())),
                "threads": len(list((process / "task").iterdir())),
            }
    return found


def of_tables(session: Session) -> dict[str, dict[str, int]]:
    """Rows and bytes (with indexes) of each table."""
    sizes = session.execute(
        sa.text(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relnamespace = :ours"
        ),
        {"ours": session.execute(sa.text("SELECT 'public'::regnamespace::oid")).scalar_one()},
    ).all()
    return {
        name: {
            "rows": session.execute(sa.select(sa.func.count()).select_from(sa.table(name))).scalar_one(),
            "bytes": size,
        }
        for name, size in sorted(sizes)
    }


def of_folder(folder: Path) -> dict[str, int]:
    """Files and bytes below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    total = 0
    for path in files:
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return {"files": len(files), "bytes": total}


def growth(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """By process, how many resident mebibytes were added."""
    return {
        name: round(after[name]["resident_mib"] - before[name]["resident_mib"], 1)
        for name in sorted(before.keys() & after.keys())
    }
