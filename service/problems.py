"""One error tree, one handler: every failure leaves as an RFC 9457 problem."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.exceptions import HTTPException

from api_schemas.common import FieldProblem, Problem
from service.schema import allowed_methods
from store.artifacts import is_full
from store.errors import StorageFullError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_DETAIL_MAX = 4000


class ServiceError(Exception):
    """A request that cannot be served; `code` is stable, the detail says what would be right."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldProblem] | None = None,
        job: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = errors
        self.job = job
        self.headers = headers


class UnknownError(ServiceError):
    """Something named does not exist."""

    status = HTTPStatus.NOT_FOUND


class ConflictError(ServiceError):
    """The request does not fit what is there now."""

    status = HTTPStatus.CONFLICT


class InvalidError(ServiceError):
    """The request is wrong in itself."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class TooLargeError(ServiceError):
    """Past a limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class UnsupportedError(ServiceError):
    """A content type that the route does not take."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class LockedError(ServiceError):
    """Another request is at it."""

    status = HTTPStatus.LOCKED


class PreconditionError(ServiceError):
    """The request assumes what does not hold, such as another version of a protocol."""

    status = HTTPStatus.PRECONDITION_FAILED


class StalledError(ServiceError):
    """The body stopped coming."""

    status = HTTPStatus.REQUEST_TIMEOUT


class UnauthorizedError(ServiceError):
    """No key, or none that is known."""

    status = HTTPStatus.UNAUTHORIZED


class ForbiddenError(ServiceError):
    """The key is known, and does not reach this far."""

    status = HTTPStatus.FORBIDDEN


class TooManyError(ServiceError):
    """Past a limit of requests."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class HeadTooLargeError(ServiceError):
    """More headers than are read."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class AddressTooLongError(ServiceError):
    """A longer address than is read."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG


class FullError(ServiceError):
    """There is no room left for what was sent."""

    status = HTTPStatus.INSUFFICIENT_STORAGE


class UnavailableError(ServiceError):
    """A part that is needed is away; the same request may work later."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


_CODES = {
    400: "malformed_request",
    404: "unknown_route",
    405: "method_not_allowed",
    415: "unsupported_media_type",
}


def _answer(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[FieldProblem] | None = None,
    job: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    request_id: str = request.scope.get("request_id", "")
    problem = Problem(
        type=f"urn:lookahead:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        # It may quote what was sent: a name of any length.
        detail=detail if len(detail) <= _DETAIL_MAX else f"{detail[:_DETAIL_MAX]} ...",
        code=code,
        request_id=request_id,
        errors=list(errors) if errors else None,
        job=job,
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status_code=status,
        media_type=MEDIA_TYPE,
        # The last resort's answer is sent outside the middleware that names requests.
        headers={"X-Request-ID": request_id, **(headers or {})},
    )


def answer_to(request: Request, error: ServiceError) -> JSONResponse:
    """The problem that an error is."""
    return _answer(
        request,
        error.status,
        error.code,
        error.detail,
        errors=error.errors,
        job=error.job,
        headers=error.headers,
    )


def unknown_project(name: str) -> UnknownError:
    """The problem of a project that does not exist, or not for the caller: word for word the same."""
    return UnknownError("unknown_project", f"there is no project {name!r}; GET /projects lists them")


def database_away(request: Request, error: OperationalError | InterfaceError) -> JSONResponse:
    """The problem of a database that does not answer, or has no room left."""
    if isinstance(error.orig, psycopg.errors.DiskFull):
        return _full(request, error.orig)
    log.warning("request %s: the database is away: %s", request.scope.get("request_id", ""), error.orig)
    detail = "the database cannot be reached: nothing was changed, try again"
    return _answer(request, 503, "database_unavailable", detail, headers={"Retry-After": "2"})


def too_large(request: Request) -> JSONResponse:
    """The problem of a body past its limit."""
    return _answer(
        request,
        413,
        "body_too_large",
        "the body is larger than this route takes: send a pool in parts, labels in pages",
    )


def _full(request: Request, reason: object) -> JSONResponse:
    log.error("no room left: %s", reason)
    detail = "the disk is full on our side: nothing was changed, try again once there is room"
    return _answer(request, 507, "storage_full", detail, headers={"Retry-After": "60"})


def _field(location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in location if part not in {"body", "query", "path", "header"})


def field_problems(error: ValidationError, within: str) -> list[FieldProblem]:
    """What is wrong with each part of the field `within`, which was checked by itself."""
    return [
        FieldProblem(
            field=".".join([within, *(str(part) for part in entry["loc"])]),
            detail=entry["msg"].removeprefix("Value error, "),
        )
        for entry in error.errors()
    ]


def install(app: FastAPI, origins: Sequence[str] = ()) -> None:
    """Turn every exception into a problem. Pages of `origins` may read even the last resort's."""

    @app.exception_handler(ServiceError)
    def service_error(request: Request, error: ServiceError) -> JSONResponse:
        return answer_to(request, error)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found: list[dict[str, Any]] = list(error.errors())
        if any(entry["type"] == "json_invalid" for entry in found):
            reason = found[0].get("ctx", {}).get("error", "unreadable")
            return _answer(request, 400, "malformed_json", f"the body is not JSON: {reason}")
        errors = [
            FieldProblem(field=_field(entry["loc"]), detail=entry["msg"].removeprefix("Value error, "))
            for entry in found[:50]
        ]
        first = errors[0]
        detail = f"{first.field}: {first.detail}" if first.field else first.detail
        return _answer(request, 422, "invalid_request", detail, errors=errors)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return too_large(request)
        if isinstance(error.__cause__, OSError) and is_full(error.__cause__):
            # A large upload is set down on disk while its parts are read.
            return _full(request, error.__cause__)
        code = _CODES.get(error.status_code, "http_error")
        detail = str(error.detail)
        if error.status_code == HTTPStatus.NOT_FOUND:
            detail = f"there is no route {request.method} {request.url.path}; /docs lists them"
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = allowed_methods(app, request.url.path) or headers.get("Allow", "")
            detail = f"{request.url.path} takes {headers['Allow']}, not {request.method}"
        return _answer(request, error.status_code, code, detail, headers=headers)

    _install_storage(app)
    _install_last(app, origins)


def _install_storage(app: FastAPI) -> None:
    """The database away, or no room left: ours to mend, and nothing was changed."""
    app.add_exception_handler(OperationalError, database_away)  # type: ignore[arg-type]
    app.add_exception_handler(InterfaceError, database_away)  # type: ignore[arg-type]

    @app.exception_handler(StorageFullError)
    def storage_full(request: Request, error: StorageFullError) -> JSONResponse:
        return _full(request, error)

    @app.exception_handler(OSError)
    def system(request: Request, error: OSError) -> JSONResponse:
        return _full(request, error) if is_full(error) else _unexpected(request, error)


def _install_last(app: FastAPI, origins: Sequence[str]) -> None:
    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        # It leaves outside of every middleware, that for other origins included.
        origin = request.headers.get("origin", "")
        allowed = "*" if "*" in origins else origin if origin in origins else None
        headers = {} if allowed is None else {"Access-Control-Allow-Origin": allowed, "Vary": "Origin"}
        return _unexpected(request, error, headers)


def _unexpected(request: Request, error: Exception, headers: Mapping[str, str] | None = None) -> JSONResponse:
    log.exception("request failed", exc_info=error)
    detail = "an error on our side; the request id leads to it in the service's log"
    return _answer(request, 500, "internal_error", detail, headers=headers)


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the problems a route can answer with, besides those every route can."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*statuses, 401, 403, 422, 429, 500, 503, 507})
    }
