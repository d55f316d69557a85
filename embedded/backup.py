"""`lookahead backup`: the database and the artifacts it refers to, as of one moment, in one file.

A tar archive: `manifest.json`, `database.dump` (pg_dump's own format), `artifacts/<SHA-256>`. Artifacts are immutable
and named by their content: whatever the database referred to when it was read can be copied afterwards.
"""

import hashlib
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from embedded.deployment import Deployment
from embedded.errors import StartError
from store import deletion, references
from store.artifacts import Artifacts
from store.database import connect
from store.errors import ArtifactMissingError
from store.tables import Base

FORMAT = 1
MANIFEST = "manifest.json"
DUMP = "database.dump"
ARTIFACTS = "artifacts/"


def backup(
    deployment: Deployment, target: Path, *, kernels: bool = True, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Write the backup; `target` appears when it is complete. Returns the manifest. Raises StartError, OSError."""
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    sessions = connect(deployment.database_url, pool_size=1)
    try:
        # What the dump names is copied after it: of a project that is deleted meanwhile nothing may go before that.
        with (
            deletion.put_off(sessions),
            tempfile.TemporaryFile(dir=target.parent) as dump,
            partial.open("xb") as output,
        ):
            os.chmod(partial, 0o600)  # it holds everything, hashes of keys among it
            manifest = _dumped(deployment, dump, kernels=kernels)
            say(f"database: {manifest['database']['bytes']:,} bytes, {sum(manifest['rows'].values()):,} rows")
            _write(deployment.artifacts, manifest, dump, output, say)
            output.flush()
            os.fsync(output.fileno())
        partial.replace(target)
    finally:
        sessions.kw["bind"].dispose()
        partial.unlink(missing_ok=True)
    return manifest


def _dumped(deployment: Deployment, dump: IO[bytes], *, kernels: bool) -> dict[str, Any]:
    """Dump the database; the manifest tells of the same moment."""
    sessions = connect(deployment.database_url, pool_size=1)
    engine: sa.Engine = sessions.kw["bind"]
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            # What pg_dump reads and what we list is one snapshot, whatever is written meanwhile.
            snapshot = connection.execute(sa.text("SELECT pg_export_snapshot()")).scalar_one()
            with sessions(bind=connection) as session:
                panels, lasting = references.kernels(session), references.lasting(session)
                rows = {
                    table.name: session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                    for table in Base.metadata.sorted_tables
                }
                schema = session.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
            options = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}")
            deployment.run("pg_dump", *options, output=dump)
    except sa.exc.ProgrammingError as error:
        raise StartError(f"This is no database of Lookahead: {error.orig}") from error
    finally:
        engine.dispose()
    dump.seek(0)
    digest = hashlib.file_digest(dump, "sha256").hexdigest()  # type: ignore[arg-type]
    return {
        "format": FORMAT,
        "version": version("lookahead"),
        "schema": schema,
        "created_at": datetime.now(UTC).isoformat(),
        "database": {"sha256": digest, "bytes": dump.tell()},
        "rows": rows,
        "artifacts": sorted(lasting),
        "kernels": sorted(panels - lasting) if kernels else [],
    }


def _write(
    artifacts: Artifacts, manifest: dict[str, Any], dump: IO[bytes], output: IO[bytes], say: Callable[[str], None]
) -> None:
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, MANIFEST, io.BytesIO(text := json.dumps(manifest, indent=1).encode()), len(text))
        dump.seek(0)
        _add(tar, DUMP, dump, manifest["database"]["bytes"])
        for name in manifest["artifacts"]:
            _add_artifact(tar, artifacts, name)
        say(f"artifacts: {len(manifest['artifacts'])}")
        left_out = sum(1 for name in _present(artifacts, manifest["kernels"]) if not _add_kernel(tar, artifacts, name))
        say(f"kernel panels: {len(manifest['kernels']) - left_out}")


def _present(artifacts: Artifacts, names: Iterable[str]) -> Iterable[str]:
    return (name for name in names if artifacts.exists(name))


def _add_kernel(tar: tarfile.TarFile, artifacts: Artifacts, name: str) -> bool:
    """Add a panel, unless a newer kernel has taken its place by now: then it is computed anew."""
    try:
        _add_artifact(tar, artifacts, name)
    except StartError as error:
        if isinstance(error.__cause__, ArtifactMissingError):
            return False
        raise
    return True


def _add_artifact(tar: tarfile.TarFile, artifacts: Artifacts, name: str) -> None:
    try:
        with artifacts.path(name).open("rb") as file:
            checked = _Hashing(file)
            _add(tar, ARTIFACTS + name, checked, os.fstat(file.fileno()).st_size)
    except (ArtifactMissingError, FileNotFoundError) as error:
        gone = ArtifactMissingError(str(error), name)
        raise StartError(f"Artifact {name} is missing from the storage: nothing was written.") from gone
    if checked.digest.hexdigest() != name:
        raise StartError(f"Artifact {name} is damaged in the storage: nothing was written.")


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _add(tar: tarfile.TarFile, name: str, file: Any, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    tar.addfile(member, file)
