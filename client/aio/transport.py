# Made from client/transport.py by `make client`: change that one.
"""Sending: typed answers, problems as errors, and retries where they cannot do anything twice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from api_schemas.common import Problem
from client.aio.waiting import Http, pause, read_all
from client.errors import ApiError, UnexpectedAnswerError, UnreachableError

CONNECT_SECONDS = 10.0
PAUSES = (0.3, 0.6)  # seconds before the second try and the third
LONGEST_PAUSE = 20.0  # seconds that a service may ask for: what takes longer is the caller's to decide
_GOING_ON = httpx.Timeout(60.0, connect=CONNECT_SECONDS)  # events come, or signs of life every 15 seconds
T = TypeVar("T", bound=BaseModel)


class Transport:
    """One connection pool to one service."""

    def __init__(self, url: str, key: str | None, timeout: float) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
        try:
            self._http = Http(base_url=url, headers=headers, timeout=limits)
        except httpx.InvalidURL as error:
            raise _no_address(url) from error
        self.url = str(self._http.base_url).rstrip("/")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def ask(self, kind: type[T], method: str, path: str, *, repeatable: bool = False, **more: Any) -> T:
        """The answer as `kind`. Raises ApiError, UnreachableError, UnexpectedAnswerError."""
        return self.read(kind, await self.send(method, path, repeatable=repeatable, **more))

    def read(self, kind: type[T], answer: httpx.Response) -> T:
        """The body of an answer. Raises UnexpectedAnswerError."""
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError as error:
            raise UnexpectedAnswerError(
                f"{self.url} answered {answer.request.method} {answer.request.url.path} with something that is no "
                f"{kind.__name__}: is it a Lookahead service, of this client's version?"
            ) from error

    async def send(
        self, method: str, path: str, *, repeatable: bool = False, also: int | None = None, **more: Any
    ) -> httpx.Response:
        """The successful answer to a request, or one with the status `also`; a GET is always repeatable."""
        repeatable = repeatable or method == "GET"
        for wait in (*PAUSES, None):
            try:
                answer = await self._http.request(method, path, **more)
            except httpx.TransportError as error:
                # A connection that was never made has done nothing: any request may try again then.
                unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if wait is None or not (repeatable or unsent) or isinstance(error, httpx.UnsupportedProtocol):
                    raise self._unreachable(error) from error
                await pause(wait)
                continue
            if answer.is_success or answer.status_code == also:
                return answer
            later = _later(answer, repeatable)
            if later is None or wait is None:
                break
            await pause(max(later, wait))
        raise ApiError(_problem(answer))

    @asynccontextmanager
    async def stream(self, path: str, query: dict[str, str] | None = None) -> AsyncIterator[httpx.Response]:
        """An answer that goes on: what comes is read as it comes. Raises ApiError, UnreachableError."""
        try:
            async with self._http.stream("GET", path, params=query, timeout=_GOING_ON) as answer:
                if not answer.is_success:
                    await read_all(answer)
                    raise ApiError(_problem(answer))
                yield answer
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> UnreachableError:
        if isinstance(error, httpx.UnsupportedProtocol):
            return _no_address(self.url)
        return UnreachableError(
            f"{self.url} does not answer ({type(error).__name__}): is the service running? "
            "`lookahead up` starts one; --url or LOOKAHEAD_URL names another"
        )


def _later(answer: httpx.Response, repeatable: bool) -> float | None:
    """Seconds until the same request may be answered otherwise; None where it will not, or not soon."""
    refused = answer.status_code == httpx.codes.TOO_MANY_REQUESTS
    away = repeatable and answer.status_code in {httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE}
    if not (refused or away):
        return None
    try:
        seconds = float(answer.headers.get("Retry-After", "0"))
    except ValueError:
        return None
    return seconds if seconds <= LONGEST_PAUSE else None


def _no_address(url: str) -> UnreachableError:
    return UnreachableError(f"{url!r} is no address of a service: give one such as http://127.0.0.1:8000")


def _problem(answer: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(answer.content)
    except ValidationError:
        # Not from the service but from something in between.
        return Problem(
            type="about:blank",
            title=answer.reason_phrase,
            status=answer.status_code,
            detail=f"{answer.request.url} answered with status {answer.status_code} and no problem body: "
            "is it a Lookahead service?",
            code="http_error",
            request_id="",
        )
