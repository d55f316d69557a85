"""Sending: typed answers, problems as errors, and retries where they cannot do anything twice."""

import time
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from api_schemas.common import Problem
from client.errors import ApiError, UnexpectedAnswerError, UnreachableError

CONNECT_SECONDS = 10.0
PAUSES = (0.3, 0.6)  # seconds before the second try and the third
T = TypeVar("T", bound=BaseModel)


class Transport:
    """One connection pool to one service."""

    def __init__(self, url: str, key: str | None, timeout: float) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=limits)
        except httpx.InvalidURL as error:
            raise _no_address(url) from error
        self.url = str(self._http.base_url).rstrip("/")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, kind: type[T], method: str, path: str, *, repeatable: bool = False, **more: Any) -> T:
        """The answer as `kind`. Raises ApiError, UnreachableError, UnexpectedAnswerError."""
        return self.read(kind, self.send(method, path, repeatable=repeatable, **more))

    def read(self, kind: type[T], answer: httpx.Response) -> T:
        """The body of an answer. Raises UnexpectedAnswerError."""
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError as error:
            raise UnexpectedAnswerError(
                f"{self.url} answered {answer.request.method} {answer.request.url.path} with something that is no "
                f"{kind.__name__}: is it a Lookahead service, of this client's version?"
            ) from error

    def send(self, method: str, path: str, *, repeatable: bool = False, **more: Any) -> httpx.Response:
        """The successful answer to a request; a GET is always repeatable."""
        repeatable = repeatable or method == "GET"
        for pause in (*PAUSES, None):
            try:
                answer = self._http.request(method, path, **more)
                break
            except httpx.UnsupportedProtocol as error:
                raise _no_address(self.url) from error
            except httpx.TransportError as error:
                # A connection that was never made has done nothing: any request may try again then.
                unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if pause is None or not (repeatable or unsent):
                    raise UnreachableError(
                        f"{self.url} does not answer ({type(error).__name__}): is the service running? "
                        "`lookahead up` starts one; --url or LOOKAHEAD_URL names another"
                    ) from error
                time.sleep(pause)
        if answer.is_success:
            return answer
        raise ApiError(_problem(answer))


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
