"""Metrics."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from telemetry.snapshots import exposition

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text"}},
)
def metrics(request: Request) -> Response:
    """Prometheus text: queues, jobs and labels, and the metrics of every service process and worker."""
    return Response(exposition(request.app.state.metrics.everything()), media_type=CONTENT_TYPE_LATEST)
