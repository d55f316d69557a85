"""The app factory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi.responses import RedirectResponse

from service import auth, idempotency, problems
from service.context import Context
from service.endings import Endings
from service.group_commit import GroupCommit
from service.metrics import Metrics, MetricsMiddleware
from service.middleware import BodyLimitAsProblem, RequestIdMiddleware
from service.operations.label_groups import add_together
from service.routes import (
    checkpoints,
    health,
    jobs,
    labels,
    leases,
    metrics,
    pool,
    predictions,
    projects,
    strategies,
    suggest,
    train,
)
from service.schema import complete
from service.settings import ServiceSettings
from store.artifacts import Artifacts
from store.database import connect
from telemetry import traces
from telemetry.traces import Tracing
from worker import queue

DESCRIPTION = """Tells annotation tools what to label next.

Upload a pool, a checkpoint and labels; ask `POST /suggest` for the items whose labels would change the model most;
stream each label to `POST /label`: the next suggestion already knows it. Errors are RFC 9457 problems with a stable
`code`."""


def create_app(settings: ServiceSettings | None = None, tracing: Tracing | None = None) -> FastAPI:
    """The service. Connections are opened on first use and closed at shutdown.

    Without `tracing`, the settings say which. Raises RuntimeError when its packages are missing.
    """
    settings = settings or ServiceSettings()
    context = Context(
        settings=settings,
        sessions=connect(settings.database_url),
        redis=queue.connect(settings.redis_url),
        artifacts=Artifacts(settings.artifacts_url),
        endings=Endings(settings.redis_url),
        tracing=tracing or traces.make(settings.lookahead_tracing, "service"),
    )
    measured = Metrics(context)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with context.endings.listening():
            measured.publisher.start()
            yield
        measured.publisher.stop()
        context.tracing.close()
        context.redis.close()
        context.sessions.kw["bind"].dispose()

    app = FastAPI(
        title="Lookahead",
        description=DESCRIPTION,
        version=version("lookahead"),
        lifespan=lifespan,
        responses=problems.declared(),
    )
    app.state.context = context
    app.state.label_commits = GroupCommit(add_together)
    app.state.metrics = measured
    app.add_middleware(BodyLimitAsProblem)
    app.add_middleware(MetricsMiddleware, metrics=measured)
    app.add_middleware(RequestIdMiddleware)
    context.tracing.instrument(app)
    problems.install(app)
    idempotency.install(app)
    app.include_router(health.router)
    keyed = [Depends(auth.check)]
    for part in (projects, pool, checkpoints, train, labels, suggest, leases, predictions, strategies, jobs, metrics):
        # Per router and not on the app, whose own refusal would leave before our middleware could word it.
        limit = settings.max_upload_bytes if part in (pool, checkpoints) else settings.max_body_bytes
        app.include_router(part.router, dependencies=keyed, max_body_size=limit)

    made_schema = app.openapi
    # Assigned as the framework's documentation has it; it asks for the schema through this attribute.
    app.openapi = lambda: complete(made_schema())  # type: ignore[method-assign]

    @app.get("/", include_in_schema=False)
    def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app
