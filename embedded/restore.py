"""`lookahead restore`: a backup into an empty deployment, every byte checked, all of it or nothing."""

import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

import migrations
from embedded.backup import ARTIFACTS, DUMP, FORMAT, MANIFEST
from embedded.deployment import Deployment
from embedded.errors import StartError
from migrations.__main__ import upgrade
from store import jobs
from store.artifacts import Artifacts
from store.database import Sessions, connect
from store.tables import Base, FactorRow, KernelPanel, KernelState, Project

# Rows that a deployment makes by itself, or that tell only of requests: nothing is lost with them.
_WORTHLESS = {"audit_entries", "idempotency_keys"}
_BULK = "bulk"


def restore(deployment: Deployment, source: Path, *, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Put a backup's content in place. Raises StartError when it is damaged or would overwrite something, OSError."""
    sessions = connect(deployment.database_url, pool_size=1)
    try:
        replace = _check_empty(sessions)
        with tempfile.NamedTemporaryFile(prefix="lookahead-") as dump:
            manifest, added = _unpack(deployment.artifacts, source, dump)
            say(f"artifacts: {len(added)}, all as they were")
            try:
                options = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
                options += ["--clean", "--if-exists"] if replace else []
                deployment.run("pg_restore", *options, dump.name)
            except BaseException:
                _remove(deployment.artifacts, added)
                raise
        _check_counts(sessions, manifest)
        upgrade(deployment.database_url)
        if again := _without_missing_kernels(sessions, deployment.artifacts):
            say(f"kernels to be prepared again: {again}")
    finally:
        sessions.kw["bind"].dispose()
    return manifest


def _check_empty(sessions: Sessions) -> bool:
    """Whether there are empty tables to replace. Raises StartError when one has rows."""
    engine: sa.Engine = sessions.kw["bind"]
    there = set(sa.inspect(engine).get_table_names())
    with engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            if table.name in there - _WORTHLESS and connection.scalar(
                sa.text(f"SELECT EXISTS (SELECT 1 FROM {table.name})")  # noqa: S608 - our own tables' names
            ):
                raise StartError(
                    f"The database is not empty ({table.name} has rows): restore into another home or database "
                    "(`lookahead up --no-sample` leaves a new one empty)."
                )
    return "alembic_version" in there


def _unpack(artifacts: Artifacts, source: Path, dump: IO[bytes]) -> tuple[dict[str, Any], list[str]]:
    """Check and store the artifacts, check the dump; (manifest, artifacts that were not there before)."""
    added: list[str] = []
    try:
        with tarfile.open(source, "r|") as tar:
            manifest = _manifest(tar)
            seen = set()
            # Iterating over the archive itself would begin with the manifest again.
            while (member := tar.next()) is not None:
                content = tar.extractfile(member)
                if content is None:
                    raise StartError(f"{source} is no backup of Lookahead: {member.name} is no file.")
                if member.name == DUMP:
                    shutil.copyfileobj(content, dump)
                    continue
                name = member.name.removeprefix(ARTIFACTS)
                known = artifacts.exists(name)
                stored = artifacts.put_file(content)  # type: ignore[arg-type]
                added += [] if known and stored == name else [stored]
                if stored != name:
                    raise StartError(f"{source} is damaged: artifact {name} has other bytes than its name promises.")
                seen.add(name)
        _check_complete(source, manifest, seen, dump)
    except (tarfile.TarError, EOFError) as error:
        _remove(artifacts, added)
        raise StartError(f"{source} is damaged or cut short: {error}") from error
    except BaseException:
        _remove(artifacts, added)
        raise
    return manifest, added


def _manifest(tar: tarfile.TarFile) -> dict[str, Any]:
    first = tar.next()
    content = tar.extractfile(first) if first is not None and first.name == MANIFEST else None
    if content is None:
        raise StartError("The file is no backup of Lookahead: it does not begin with a manifest.")
    manifest: dict[str, Any] = json.loads(content.read())
    known = {script.revision for script in ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()}
    if manifest["format"] != FORMAT or manifest["schema"] not in known:
        raise StartError(f"The backup was made by version {manifest['version']}, which is newer: upgrade first.")
    return manifest


def _check_complete(source: Path, manifest: dict[str, Any], seen: set[str], dump: IO[bytes]) -> None:
    if missing := sorted(set(manifest["artifacts"]) - seen):
        raise StartError(f"{source} is damaged or cut short: artifact {missing[0]} is missing.")
    dump.flush()
    dump.seek(0)
    if hashlib.file_digest(dump, "sha256").hexdigest() != manifest["database"]["sha256"]:  # type: ignore[arg-type]
        raise StartError(f"{source} is damaged: the database's dump has other bytes than the manifest says.")


def _check_counts(sessions: Sessions, manifest: dict[str, Any]) -> None:
    with sessions.begin() as session:
        for table, expected in manifest["rows"].items():
            found = session.scalar(sa.text(f"SELECT count(*) FROM {table}"))  # noqa: S608 - from our manifest
            if found != expected:
                raise StartError(f"Restored {found} rows of {table} where the backup has {expected}.")


def _remove(artifacts: Artifacts, names: list[str]) -> None:
    for name in names:
        artifacts.remove(name)


def _without_missing_kernels(sessions: Sessions, artifacts: Artifacts) -> int:
    """Forget kernels whose panels were left out, and queue their preparation; returns how many projects wait for it."""
    with sessions.begin() as session:
        panels = session.execute(sa.select(KernelPanel.state_id, KernelPanel.artifact)).all()
        there = {name: artifacts.exists(name) for name in {panel.artifact for panel in panels}}
        gone = sorted({panel.state_id for panel in panels if not there[panel.artifact]})
        session.execute(sa.delete(KernelPanel).where(KernelPanel.state_id.in_(gone)))
        session.execute(sa.delete(FactorRow).where(FactorRow.state_id.in_(gone)))
        waiting = session.scalars(sa.select(Project).where(Project.active_state_id.in_(gone))).all()
        for project in waiting:
            _prepare_again(session, project)
        # One that was in the making goes on by itself, from its first panel.
        ready = sa.and_(KernelState.id.in_(gone), KernelState.status == "ready")
        session.execute(sa.update(KernelState).where(ready).values(status="superseded"))
        return len(waiting)


def _prepare_again(session: Session, project: Project) -> None:
    state = session.get_one(KernelState, project.active_state_id)
    project.active_state_id = None
    session.flush()
    if jobs.open_of_kind(session, project.id, "prepare") is None:
        arguments = {"checkpoint_id": state.checkpoint_id, "kernel": state.options}
        jobs.create(session, kind="prepare", project_id=project.id, queue=_BULK, arguments=arguments)
