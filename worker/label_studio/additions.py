"""Tasks that the pool does not have become items of it: texts as vectors, pictures as arrays."""

import logging
import math
import tempfile
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from redis.exceptions import RedisError

from client.sources.text import DIMENSIONS, text_vectors
from store import contents, jobs, label_studio, label_studio_fold, pools, references
from store.tables import Checkpoint, Job, KernelState, LabelStudioConnection, PoolChunk, Project
from studio.api import LabelStudio
from studio.errors import RefusedError
from studio.items import PICTURE_BYTES_MAX, PictureError, item_of, pixels
from studio.payloads import Task
from worker import queue
from worker.context import Context
from worker.progress import Reporter

log = logging.getLogger(__name__)

# Of one upload into the pool: texts are vectors of 4 kB, pictures of 12 kB or so.
AT_ONCE = 1000
BYTES_AT_ONCE = 256 << 20
PICTURE_SIZE = 32
TEXT_MAX = 100_000
Array = npt.NDArray[np.float32]


class Additions:
    """Gathers new tasks and adds them in runs."""

    def __init__(self, context: Context, studio: LabelStudio, connection: LabelStudioConnection) -> None:
        self._context, self._studio, self._connection = context, studio, connection
        self._waiting: list[Task] = []
        self._added = 0
        self.events = 0
        self.left_out = 0
        self.problem: str | None = None

    def add(self, tasks: Sequence[Task], reporter: Reporter) -> None:
        """Take tasks in; without `add_tasks` they stay out of the pool. Raises what the reporter does."""
        if self._connection.add_tasks:
            self._waiting += tasks
        while len(self._waiting) >= AT_ONCE and self.problem is None:
            self._run(reporter)

    def finish(self, reporter: Reporter) -> int:
        """Add what waits; returns how many tasks became items. Raises what the reporter does."""
        if self._waiting:
            reporter.stage("adding tasks to the pool")
        while self._waiting and self.problem is None:
            self._run(reporter)
        if self._added:
            self._prepare_again()
        if self.left_out and self.problem is None:
            field = self._connection.data_key
            self.problem = f"{self.left_out} tasks have no {self._connection.kind} in {field!r} that we can read"
        return self._added

    def _run(self, reporter: Reporter) -> None:
        with self._context.sessions.begin() as session:
            shape = session.get_one(Project, self._connection.project_id).input_shape
        count = max(1, min(AT_ONCE, BYTES_AT_ONCE // (4 * math.prod(shape or [1]))))
        run, self._waiting = self._waiting[:count], self._waiting[count:]
        made = self._vectors(run, shape) if self._connection.kind == "text" else self._pictures(run, shape, reporter)
        self.left_out += len(run) - len(made)
        if made:
            tasks = [task for task, _ in made]
            self._store(tasks, np.stack([row for _, row in made]))
        reporter.check()

    def _value(self, task: Task) -> str | None:
        value = task.data.get(self._connection.data_key)
        # JSON can spell halves of characters, which nothing can store.
        return value.encode(errors="replace").decode() if isinstance(value, str) else None

    def _texts(self, tasks: Sequence[Task]) -> str:
        """The tasks' texts as people see them, packed in one artifact."""
        with tempfile.TemporaryFile() as file:
            packer = contents.Packer(file, "text")
            for task in tasks:
                packer.add((self._value(task) or "")[:TEXT_MAX].encode())
            packer.close()
            return self._context.artifacts.put_file(file)

    def _vectors(self, tasks: Sequence[Task], shape: list[int] | None) -> list[tuple[Task, Array]]:
        texts = [(task, value[:TEXT_MAX]) for task in tasks if (value := self._value(task)) is not None]
        wide = shape is not None and len(shape) == 1 and shape[0] % 2 == 0
        rows: Array = text_vectors([text for _, text in texts], shape[0] if wide and shape else DIMENSIONS)
        return [(task, row) for (task, _), row in zip(texts, rows, strict=True)]

    def _pictures(self, tasks: Sequence[Task], shape: list[int] | None, reporter: Reporter) -> list[tuple[Task, Array]]:
        size = shape[-1] if shape is not None and len(shape) == 3 else PICTURE_SIZE
        made = []
        for task in tasks:
            reporter.check()
            if (address := self._value(task)) is None:
                continue
            try:
                made.append((task, pixels(self._studio.picture(address, PICTURE_BYTES_MAX), size)))
            except (PictureError, RefusedError) as error:
                log.info("task %d of connection %s is left out: %s", task.id, self._connection.prefix, error)
        return made

    def _store(self, tasks: list[Task], rows: Array) -> None:
        """One run of items, all or nothing; tasks that came in meanwhile by another way are left out."""
        artifacts, texts = self._context.artifacts, None
        with self._context.sessions.begin() as session:
            artifact = references.kept(session, artifacts, lambda: artifacts.put_array(rows))
            if self._connection.kind == "text":
                texts = references.kept(session, artifacts, lambda: self._texts(tasks))
            connection = label_studio.get(session, self._connection.id, lock=True)
            name = session.get_one(Project, self._connection.project_id).name
            project = pools.lock(session, name)
            if connection is None or project is None:
                return
            if project.input_shape is not None and project.input_shape != list(rows.shape[1:]):
                self.problem = (
                    f"new tasks would have shape {list(rows.shape[1:])} and the pool has {project.input_shape}: add "
                    "them to the pool yourself"
                )
                return
            ids = [item_of(task.id) for task in tasks]
            if pools.insert_items(session, project.id, project.item_count, ids, held_out=False):
                return  # The next reading finds them in the pool.
            start = project.item_count
            project.pool_version += 1
            project.item_count += len(ids)
            project.input_shape = list(rows.shape[1:])
            session.add(
                PoolChunk(
                    project_id=project.id,
                    version=project.pool_version,
                    start=start,
                    count=len(ids),
                    artifact=artifact,
                    contents=texts,
                    dtype=str(rows.dtype),
                    held_out=False,
                )
            )
            session.flush()
            places = {task.id: start + k for k, task in enumerate(tasks)}
            label_studio.note_tasks(session, connection.id, places)
            self.events += label_studio_fold.reconsider(session, connection, list(places)).events
        self._added += len(tasks)

    def _prepare_again(self) -> None:
        """Have the window drawn anew where there is a checkpoint, unless such a job waits already."""
        with self._context.sessions.begin() as session:
            project = session.get_one(Project, self._connection.project_id)
            waiting = jobs.open_of_kind(session, project.id, "prepare")
            if project.active_state_id is None or (waiting is not None and waiting.status == "queued"):
                return
            state = session.get_one(KernelState, project.active_state_id)
            checkpoint = session.get_one(Checkpoint, state.checkpoint_id)
            job: Job = jobs.create(
                session,
                kind="prepare",
                project_id=project.id,
                queue=queue.BULK,
                arguments={"checkpoint_id": checkpoint.id, "kernel": state.options},
            )
        try:
            queue.enqueue(self._context.redis, queue.BULK, job.id)
        except RedisError as error:
            log.warning("job %s will be enqueued by maintenance: %s", job.id, error)
