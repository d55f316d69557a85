"""Training."""

from fastapi import APIRouter, Response

from api_schemas import jobs as wire
from api_schemas.train import TrainRequest
from service.context import Services
from service.idempotency import OnceOnly
from service.operations import train
from service.operations.jobs import links
from service.problems import declared
from service.routes.parameters import ProjectName

router = APIRouter(tags=["checkpoints"])


@router.post("/projects/{name}/train", status_code=202, responses=declared(400, 404, 409, 413, 503))
def train_checkpoint(
    name: ProjectName, request: TrainRequest, context: Services, response: Response, once: OnceOnly
) -> wire.Job:
    """Train a built-in architecture on the labels so far; its checkpoint is active when the job is done.

    Without labels the network keeps its initial weights, which is enough for strategies that need none.
    """
    with once.asked(request).replaying():
        job = train.start(context, name, request, once)
    response.headers.update(links(job.id))
    return job
