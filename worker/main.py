"""A worker process: RQ's worker, without fork, so that CUDA and the warm posteriors stay."""

import argparse
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta

import torch
from rq.serializers import JSONSerializer

from ntk.memory import keep_freed_memory
from store.artifacts import Artifacts
from store.database import connect, connections
from store.settings import from_environment
from telemetry import logs, traces
from telemetry.gauges import watch_process
from telemetry.snapshots import Publisher
from worker import context, figures, identity, maintenance, queue
from worker.lane import Lane
from worker.live_states import LiveStates
from worker.metrics import Device, Instruments
from worker.serving import Worker, serve
from worker.settings import WorkerSettings

log = logging.getLogger("worker")

# The queue's loop listens for a little less than this before it looks around.
TTL_SECONDS = 60


def make_context(settings: WorkerSettings, role: str) -> context.Context:
    """Connections and device of this process; nothing is opened before the first job."""
    wanted = settings.lookahead_device
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted)
    if settings.lookahead_threads is not None:
        torch.set_num_threads(settings.lookahead_threads)
    sessions = connect(settings.database_url)
    artifacts = Artifacts(settings.artifacts_url)
    metrics = Instruments()
    watch_process(metrics.registry, connections=lambda: connections(sessions), disk_free=artifacts.free_bytes)
    return context.Context(
        sessions=sessions,
        redis=queue.connect(settings.redis_url),
        artifacts=artifacts,
        device=device,
        live=LiveStates(settings.lookahead_live_bytes),
        kernel_bytes=settings.lookahead_kernel_bytes,
        keep_jobs=timedelta(days=settings.lookahead_keep_jobs_days) if settings.lookahead_keep_jobs_days else None,
        private_addresses=settings.lookahead_private_addresses,
        label_studio_every=timedelta(seconds=settings.lookahead_label_studio_seconds),
        name=identity.make_name(),
        metrics=metrics,
        tracing=traces.make(settings.lookahead_tracing, role),
        vault=settings.vault,
    )


def listening(settings: WorkerSettings, name: str, names: Sequence[str]) -> Callable[[], Worker]:
    """Makes RQ workers on a client of their own.

    RQ lengthens the timeouts of connections opened from then on, and ends for one that is shorter than its own wait.
    """
    own = queue.connect(settings.redis_url, silence_seconds=TTL_SECONDS)

    def make() -> Worker:
        return Worker(
            [queue.queue(own, queue_name) for queue_name in names],
            connection=own,
            name=name,
            serializer=JSONSerializer,
            worker_ttl=TTL_SECONDS,
            log_job_description=False,
        )

    return make


def check(settings: WorkerSettings) -> int:
    """Exit status 0 if the queue has heard of a worker on this host lately."""
    with queue.connect(settings.redis_url) as redis:
        names = [worker.name for worker in Worker.all(connection=redis)]
    return 0 if any(name.startswith(f"{socket.gethostname()}-") for name in names) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m worker --queues interactive`: work until told to stop."""
    parser = argparse.ArgumentParser(prog="lookahead worker", description=main.__doc__)
    parser.add_argument("--queues", default=",".join(queue.QUEUES), help="comma-separated, in order of preference")
    parser.add_argument("--burst", action="store_true", help="stop when the queues are empty")
    parser.add_argument("--check", action="store_true", help="exit 0 if a worker on this host is alive")
    options = parser.parse_args(arguments)
    if options.check:
        return check(from_environment(WorkerSettings))
    names = options.queues.split(",")
    if unknown := set(names) - set(queue.QUEUES):
        parser.error(f"there is no queue {sorted(unknown)[0]!r}: there are {', '.join(queue.QUEUES)}")
    keep_freed_memory()
    settings = from_environment(WorkerSettings)
    role = "worker" if set(names) == set(queue.QUEUES) else f"worker-{names[0]}"
    made = make_context(settings, role)
    logs.configure(settings.lookahead_log_format, settings.lookahead_log_level, made.name)
    context.install(made)
    made.metrics.registry.register(Device(made.name, ",".join(names), made.device))
    publisher = Publisher(made.redis, role, made.metrics.registry)
    publisher.start()
    maintenance.start(made)
    telling = figures.start(made)
    lane = Lane(made) if queue.INTERACTIVE in names and not options.burst else None
    log.info("worker %s serves %s on %s", made.name, ", ".join(names), made.device)

    serve(made, listening(settings, made.name, names), burst=options.burst)
    made.stopping.set()
    if lane is not None:
        lane.close()
    telling.join(5)
    publisher.stop()
    made.tracing.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
