"""How an answer that may still be in the making leaves: 200, or 202 with the job."""

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from api_schemas import jobs as wire


def answer(result: BaseModel, wait_seconds: float) -> Response:
    """200 with the result, or 202 with the job that makes it."""
    preference = {"Preference-Applied": f"wait={wait_seconds:g}"}
    if isinstance(result, wire.Job):
        headers = {"Location": f"/jobs/{result.id}", "Retry-After": "1", **preference}
        return JSONResponse(result.model_dump(mode="json"), 202, headers)
    # Already validated once on its way out of the job's record: serialised without another pass.
    return Response(result.model_dump_json(), 200, preference, "application/json")
