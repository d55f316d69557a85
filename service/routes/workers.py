"""What runs where."""

from fastapi import APIRouter, Request

from api_schemas import workers as wire
from service.context import Services
from service.operations import workers
from service.problems import declared

router = APIRouter(tags=["workers"])


@router.get("/workers", responses=declared())
def list_workers(context: Services, request: Request) -> wire.Workers:
    """Workers with the projects that they keep warm, queues, and how long labels and suggestions take."""
    return workers.show(context, request.app.state.metrics.publisher)
