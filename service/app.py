"""The app factory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi.responses import RedirectResponse

from service import auth, idempotency, problems
from service.context import Context
from service.endings import Endings
from service.metrics import Metrics, MetricsMiddleware
from service.middleware import BodyLimitAsProblem, RequestIdMiddleware
from service.operations.uploads import kept_swept, open_uploads
from service.routes import (
    checkpoints,
    health,
    jobs,
    labels,
    metrics,
    pool,
    predictions,
    projects,
    strategies,
    suggest,
    train,
    uploads,
)
from service.schema import complete
from service.settings import ServiceSettings
from store.artifacts import Artifacts
from store.database import connect
from worker import queue

DESCRIPTION = """Tells annotation tools what to label next.

Upload a pool, a checkpoint and labels; ask `POST /suggest` for the items whose labels would change the model most;
stream each label to `POST /label`: the next suggestion already knows it. Errors are RFC 9457 problems with a stable
`code`."""


def create_app(settings: ServiceSettings | None = None) -> FastAPI:
    """The service. Connections are opened on first use and closed at shutdown."""
    settings = settings or ServiceSettings()
    artifacts = Artifacts(settings.artifacts_url)
    context = Context(
        settings=settings,
        sessions=connect(settings.database_url),
        redis=queue.connect(settings.redis_url),
        artifacts=artifacts,
        uploads=open_uploads(settings, artifacts),
        endings=Endings(settings.redis_url),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(kept_swept(context.uploads))
        async with context.endings.listening():
            yield
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
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
    app.state.metrics = Metrics(context)
    app.add_middleware(BodyLimitAsProblem)
    app.add_middleware(MetricsMiddleware, metrics=app.state.metrics)
    app.add_middleware(RequestIdMiddleware)
    problems.install(app)
    idempotency.install(app)
    app.include_router(health.router)
    keyed = [Depends(auth.check)]
    for part in (projects, pool, checkpoints, uploads, train, labels, suggest, predictions, strategies, jobs, metrics):
        # Per router and not on the app, whose own refusal would leave before our middleware could word it.
        limit = settings.max_upload_bytes if part in (pool, checkpoints, uploads) else settings.max_body_bytes
        app.include_router(part.router, dependencies=keyed, max_body_size=limit)

    made_schema = app.openapi
    # Assigned as the framework's documentation has it; it asks for the schema through this attribute.
    app.openapi = lambda: complete(made_schema())  # type: ignore[method-assign]

    @app.get("/", include_in_schema=False)
    def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app
