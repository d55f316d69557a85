"""The app factory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from service import idempotency, problems, tasks
from service.access import AccessMiddleware, Guard
from service.audit import AuditMiddleware
from service.auth import Keyring
from service.caller import ANYBODY, NOBODY
from service.context import Context
from service.endings import Endings
from service.group_commit import GroupCommit
from service.label_studio.backends import Backends
from service.limits import Limiter
from service.metrics import Metrics, MetricsMiddleware
from service.middleware import BodyLimitAsProblem, HeadLimits, RequestIdMiddleware, SafeAnswers
from service.operations.label_groups import add_together
from service.operations.uploads import kept_swept, open_uploads
from service.routes import (
    checkpoints,
    contents,
    diagnostics,
    events,
    health,
    jobs,
    keys,
    label_studio,
    labels,
    leases,
    metrics,
    pages,
    pool,
    predictions,
    projects,
    strategies,
    suggest,
    train,
    uploads,
    workers,
)
from service.schema import complete
from service.scopes import annotate
from service.settings import MIB, ServiceSettings, listed
from service.watcher import Watcher
from store.artifacts import Artifacts
from store.database import connect
from telemetry import traces
from telemetry.traces import Tracing
from worker import queue

DESCRIPTION = """Tells annotation tools what to label next.

Upload a pool, a checkpoint and labels; ask `POST /suggest` for the items whose labels would change the model most;
stream each label to `POST /label`: the next suggestion already knows it. Errors are RFC 9457 problems with a stable
`code`."""

# What scripts of other origins may read of an answer besides its body.
EXPOSED = [
    "ETag",
    "Idempotency-Replayed",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Tus-Resumable",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Offset",
    "X-Request-ID",
]


def create_app(settings: ServiceSettings | None = None, tracing: Tracing | None = None) -> FastAPI:
    """The service. Connections are opened on first use and closed at shutdown.

    Without `tracing`, the settings say which. Raises RuntimeError when its packages are missing.
    """
    settings = settings or ServiceSettings()
    sessions = connect(settings.database_url)
    artifacts = Artifacts(settings.artifacts_url)
    keys_on = settings.lookahead_auth == "on"
    context = Context(
        settings=settings,
        sessions=sessions,
        redis=queue.connect(settings.redis_url),
        artifacts=artifacts,
        uploads=open_uploads(settings, artifacts),
        endings=Endings(settings.redis_url),
        keyring=Keyring(sessions),
        caller=NOBODY if keys_on else ANYBODY,
        tracing=tracing or traces.make(settings.lookahead_tracing, "service"),
        vault=settings.vault,
    )
    measured = Metrics(context)
    watcher = Watcher(context, measured.publisher)
    measured.event_streams.set_function(watcher.count)
    limiter = Limiter(settings.redis_url)
    origins = listed(settings.lookahead_cors_origins)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(kept_swept(context.uploads))
        async with context.endings.listening():
            measured.publisher.start()
            yield
            await watcher.close()
            context.decoders.close()
        await tasks.end(sweeping)
        measured.publisher.stop()
        context.tracing.close()
        limiter.close()
        context.redis.close()
        context.sessions.kw["bind"].dispose()

    app = FastAPI(
        title="Lookahead",
        description=DESCRIPTION,
        version=version("lookahead"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=problems.declared(),
    )
    app.state.context = context
    app.state.label_commits = GroupCommit(add_together, measured.label_commit_entries.observe)
    app.state.backends = Backends(sessions, limiter, settings.lookahead_failures_per_minute if keys_on else 0)
    app.state.metrics = measured
    app.state.watcher = watcher
    _add_middleware(app, context, limiter, origins, measured)
    context.tracing.instrument(app)
    problems.install(app, origins)
    idempotency.install(app)
    _add_routes(app, settings)

    made_schema = app.openapi
    # Assigned as the framework's documentation has it; it asks for the schema through this attribute.
    app.openapi = lambda: annotate(complete(made_schema()), keys=keys_on)  # type: ignore[method-assign]

    return app


def _add_middleware(app: FastAPI, context: Context, limiter: Limiter, origins: list[str], measured: Metrics) -> None:
    """What every request passes, from the innermost to the outermost."""
    app.add_middleware(BodyLimitAsProblem)
    app.add_middleware(
        AccessMiddleware,
        on=context.settings.lookahead_auth == "on",
        origins=origins,
        routes=app.routes,
        keyring=context.keyring,
        guard=Guard(context.keyring, limiter, context.settings.lookahead_failures_per_minute),
    )
    app.add_middleware(AuditMiddleware, sessions=context.sessions)
    app.add_middleware(HeadLimits)
    app.add_middleware(MetricsMiddleware, metrics=measured)
    app.add_middleware(RequestIdMiddleware)
    app.add_middleware(SafeAnswers)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )


def _add_routes(app: FastAPI, settings: ServiceSettings) -> None:
    app.include_router(health.router)
    app.include_router(pages.router)
    for part in (
        projects,
        pool,
        contents,
        checkpoints,
        uploads,
        train,
        labels,
        diagnostics,
        suggest,
        leases,
        predictions,
        strategies,
        jobs,
        events,
        metrics,
        keys,
        label_studio,
        workers,
    ):
        # Per router and not on the app, whose own refusal would leave before our middleware could word it.
        limit = settings.max_upload_bytes if part in (pool, checkpoints, uploads) else settings.max_body_bytes
        app.include_router(
            part.router,
            max_body_size=limit,
            # No route takes more parts than these; a part that is no file is held in memory.
            form_limits={"max_files": 4, "max_fields": 16, "max_part_size": 2 * MIB},
        )
