"""Pools: add items, page through them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import sqlalchemy as sa
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from api_schemas import projects as wire
from api_schemas.filters import Filter
from service.context import Context
from service.idempotency import Once
from service.operations import jobs as job_operations
from service.operations import projects
from service.operations.labels import event_of
from service.problems import ConflictError, InvalidError, UnknownError
from service.uploads.decoded import Wishes
from service.uploads.pools import PoolUpload, read_pool
from store import jobs, labels, opinions, pools, references
from store.architectures import architecture
from store.artifacts import content_hash
from store.tables import Checkpoint, Item, Job, Opinion, PoolChunk, Project
from telemetry import logs
from worker import queue

_EVENTS_MAX = 1000
_ATTRIBUTES_AT_A_TIME = 10_000


def add(context: Context, name: str, file: BinaryIO, size: int, once: Once, fields: wire.PoolFields) -> wire.PoolAdded:
    """Append an upload's items; all of them, or none. Raises InvalidError, ConflictError, UnknownError."""
    with context.sessions.begin() as session:
        shape = projects.find(session, name, context.caller).input_shape
    wishes = Wishes(shape, fields.image_size, fields.attributes)
    with read_pool(file, size, wishes, context.settings, context.decoders) as upload:
        if restored := _restored(context, name, upload):
            return restored
        with context.sessions.begin() as session:
            # Told before the numbers are stored, and again under the lock below.
            found = projects.find(session, name, context.caller)
            _check_shape(found, upload)
            _check_columns(session, found, upload)
            if known := pools.positions(session, found.id, upload.ids or []):
                raise _taken(next(iter(known)))
        with (
            kept(context, upload.file) as artifact,
            _kept_contents(context, upload) as contents,
            context.sessions.begin() as session,
        ):
            once.begin(session)
            referred_to(context, session, artifact, upload.file)
            if contents is not None and upload.contents is not None:
                referred_to(context, session, contents, upload.contents)
            project = projects.lock(session, name, context.caller)
            answer, job = _added(session, context, project, upload, (artifact, contents), held_out=fields.held_out)
            once.keep(session, answer, 201, project_id=project.id)
    if job is not None:
        enqueue_later(context, job)
    return answer


def _added(
    session: sa.orm.Session,
    context: Context,
    project: Project,
    upload: PoolUpload,
    artifacts: tuple[str, str | None],
    *,
    held_out: bool,
) -> tuple[wire.PoolAdded, Job | None]:
    """The rows of an upload whose artifacts are held, in a project that is locked."""
    _check_shape(project, upload)
    new_columns = _check_columns(session, project, upload)
    _check_network(session, project, upload)
    start = project.item_count
    ids = upload.ids or [str(position) for position in range(start, start + upload.items)]
    if taken := pools.insert_items(session, project.id, start, ids, held_out=held_out):
        raise _taken(taken[0])
    if upload.attributes is not None:
        _add_attributes(session, project.id, ids, upload.attributes)
    project.pool_version += 1
    project.item_count += upload.items
    project.input_shape = list(upload.input_shape)
    session.add(
        PoolChunk(
            project_id=project.id,
            version=project.pool_version,
            start=start,
            count=upload.items,
            artifact=artifacts[0],
            contents=artifacts[1],
            dtype=upload.dtype,
            held_out=held_out,
            columns=new_columns,
        )
    )
    job = None if held_out else _prepare_again(session, project, context.origin)
    answer = wire.PoolAdded(
        added=upload.items,
        items=project.item_count,
        input_shape=project.input_shape,
        pool_version=project.pool_version,
        job=None if job is None else job.id,
    )
    return answer, job


def _add_attributes(session: sa.orm.Session, project_id: int, ids: list[str], lines: BinaryIO) -> None:
    for start in range(0, len(ids), _ATTRIBUTES_AT_A_TIME):
        some = ids[start : start + _ATTRIBUTES_AT_A_TIME]
        pools.merge_attributes(session, project_id, {item: json.loads(lines.readline()) for item in some})


@contextmanager
def _kept_contents(context: Context, upload: PoolUpload) -> Iterator[str | None]:
    if upload.contents is None:
        yield None
        return
    with kept(context, upload.contents) as artifact:
        yield artifact


def _restored(context: Context, name: str, upload: PoolUpload) -> wire.PoolAdded | None:
    """Put an earlier upload's inputs back where the storage has lost them; None if this is no such upload."""
    with context.sessions.begin() as session:
        project = projects.find(session, name, context.caller)
        alike = [chunk for chunk in pools.chunks(session, project.id) if chunk.count == upload.items]
        if not alike:
            return None
        files = {content_hash(file): file for file in (upload.file, upload.contents) if file is not None}
        lost = [digest for digest in files if not context.artifacts.intact(digest)]
        wanted = [chunk for chunk in alike if {chunk.artifact, chunk.contents} & set(lost)]
        if not wanted or not any(_same_ids(session, project.id, chunk, upload.ids) for chunk in wanted):
            return None
        shape, version = list(upload.input_shape), project.pool_version
        answer = wire.PoolAdded(added=0, items=project.item_count, input_shape=shape, pool_version=version, job=None)
    for digest in {chunk.artifact for chunk in wanted} | {chunk.contents for chunk in wanted}:
        if digest is None or digest not in lost:
            continue
        context.artifacts.remove(digest)
        context.artifacts.put_file(files[digest])
    return answer


def _same_ids(session: sa.orm.Session, project_id: int, chunk: pools.Chunk, ids: list[str] | None) -> bool:
    at = range(chunk.start, chunk.start + chunk.count)
    known = pools.external_ids(session, project_id, at)
    return [known[position] for position in at] == (ids or [str(position) for position in at])


@contextmanager
def kept(context: Context, file: BinaryIO) -> Iterator[str]:
    """The artifact of an upload, from the file's current position; gone again if the block fails."""
    artifact = context.artifacts.put_file(file)
    try:
        yield artifact
    except BaseException:
        _drop(context, artifact)
        raise


def _drop(context: Context, artifact: str) -> None:
    try:
        references.drop(context.sessions, context.artifacts, artifact)
    except (OSError, SQLAlchemyError) as error:
        job_operations.log.warning("artifact %s of a refused upload is left to `lookahead gc`: %s", artifact, error)


def referred_to(context: Context, session: sa.orm.Session, artifact: str, file: BinaryIO) -> None:
    """Make sure that an artifact which this transaction refers to is there when it commits."""

    def again() -> None:
        file.seek(0)
        context.artifacts.put_file(file)

    references.secure(session, context.artifacts, artifact, again)


def _taken(item: str) -> ConflictError:
    return ConflictError("duplicate_id", f"the pool has an item {item!r} already: ids must be distinct")


def _check_shape(project: Project, upload: PoolUpload | None) -> None:
    if upload is None or project.input_shape is None or list(upload.input_shape) == project.input_shape:
        return
    raise InvalidError(
        "wrong_shape",
        f"these items have shape {list(upload.input_shape)}, and those of the pool {project.input_shape}",
    )


def _check_columns(session: sa.orm.Session, project: Project, upload: PoolUpload) -> list[str] | None:
    """The names that the pool has from this upload on, if it had none. Raises InvalidError `wrong_columns`."""
    if upload.columns is None:
        return None
    known = pools.columns(session, project.id)
    if known is None:
        return upload.columns
    pairs = enumerate(zip(upload.columns, known, strict=True), 1)
    differing = next(((place, *names) for place, names in pairs if names[0] != names[1]), None)
    if differing is None:
        return None
    place, given, wanted = differing
    what = "the pool's in another order" if sorted(upload.columns) == sorted(known) else "not the pool's"
    raise InvalidError(
        "wrong_columns",
        f"the columns are {what}: number {place} of an item is {given!r}, and {wanted!r} in the pool; send the "
        "pool's columns in the pool's order, as GET /projects/{name}/contents names them",
    )


def _check_network(session: sa.orm.Session, project: Project, upload: PoolUpload) -> None:
    checkpoint = projects.newest(session, project)
    if checkpoint is None:
        return
    network = architecture(checkpoint.architecture, checkpoint.options)
    if not network.accepts(upload.input_shape):
        raise InvalidError(
            "wrong_shape",
            f"these items have shape {list(upload.input_shape)}, and checkpoint {checkpoint.name} takes "
            f"{network.expects()}",
        )


def _prepare_again(session: sa.orm.Session, project: Project, origin: jobs.Origin) -> Job | None:
    """A job that draws the window anew, if there is a checkpoint and no such job is still waiting."""
    waiting = jobs.open_of_kind(session, project.id, "prepare")
    if waiting is not None and waiting.status == "queued":
        return waiting
    state = projects.active_state(session, project)
    checkpoint = session.get(Checkpoint, state.checkpoint_id) if state else projects.newest(session, project)
    if checkpoint is None:
        return None
    return jobs.create(
        session,
        kind="prepare",
        project_id=project.id,
        queue=queue.BULK,
        arguments={"checkpoint_id": checkpoint.id, "kernel": state.options if state else checkpoint.kernel},
        origin=origin,
    )


def enqueue_later(context: Context, job: Job) -> None:
    """Enqueue bulk work that is committed; if the queue is away, maintenance will find it in Postgres."""
    logs.note(job_id=job.id)
    try:
        with context.tracing.span("enqueue", kind="producer", attributes={"lookahead.job": job.id}):
            queue.enqueue(context.redis, job.queue, job.id)
    except RedisError as error:
        job_operations.log.warning("job %s will be enqueued by maintenance: %s", job.id, error)


def page(
    context: Context, name: str, *, state: str | None, conditions: Filter, after: int, limit: int
) -> wire.ItemPage:
    """Items past position `after` whose attributes meet the conditions. Raises UnknownError."""
    with context.sessions.begin() as session:
        project = projects.find(session, name, context.caller)
        rows = pools.page(session, project.id, state=state, conditions=conditions, after=after, limit=limit)
        items = [_item(item, leased, project.classes) for item, leased in rows]
    return wire.ItemPage(items=items, next=items[-1].position if len(items) == limit else None)


def detail(context: Context, name: str, item: str) -> wire.ItemDetail:
    """One item with everybody's opinion of it and its events. Raises UnknownError."""
    with context.sessions.begin() as session:
        project = projects.find(session, name, context.caller)
        found = pools.one(session, project.id, item)
        if found is None:
            raise UnknownError("unknown_item", f"project {name!r} has no item {item!r}")
        position = found[0].position
        events = labels.page(session, project.id, after_seq=0, limit=_EVENTS_MAX, item_position=position)
        return wire.ItemDetail(
            **_item(*found, project.classes).model_dump(),
            opinions=[
                _opinion(opinion, project.classes) for opinion in opinions.of_item(session, project.id, position)
            ],
            events=[event_of(event, item, project.classes) for event, _ in events],
        )


def _opinion(opinion: Opinion, classes: list[str]) -> wire.Opinion:
    return wire.Opinion(
        annotator=opinion.annotator or None,
        label=None if opinion.class_index is None else classes[opinion.class_index],
        skip=opinion.skipped,
        own=opinion.own,
        seq=opinion.seq,
    )


def _item(item: Item, leased: bool, classes: list[str]) -> wire.Item:
    if item.held_out:
        state = "held_out"
    elif item.skipped:
        state = "skipped"
    else:
        state = "unlabeled" if item.label is None else "labeled"
    return wire.Item.model_validate(
        {
            "item": item.external_id,
            "position": item.position,
            "state": state,
            "leased": leased,
            "label": None if item.label is None else classes[item.label],
            "label_seq": item.label_seq,
            "attributes": item.attributes,
        }
    )
