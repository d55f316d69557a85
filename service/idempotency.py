"""`Idempotency-Key`: a request that comes again is not done again, it gets the answer it got.

The key is claimed and the answer kept in the transaction that does the work, so that neither can be there without
the other. Requests that fail keep nothing: the same key may be tried again.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from service.caller import Caller
from service.context import Context
from service.problems import ConflictError, ServiceError
from store import idempotency
from store.errors import KeyReusedError
from store.tables import Json

REPLAYED = "Idempotency-Replayed"
_BLOCK = 1 << 20
Asked = BaseModel | str | bytes | bool | IO[bytes]
T = TypeVar("T", bound=BaseModel)


class AnsweredBeforeError(Exception):
    """The request was answered before: leave the transaction, and give that answer."""

    def __init__(self, answer: Json) -> None:
        super().__init__("answered before")
        self.answer = answer

    def response(self) -> Response:
        """The answer as it was, marked as a replay."""
        headers = {**self.answer["headers"], REPLAYED: "true"}
        return Response(self.answer["body"], self.answer["status"], headers, "application/json")


def owner_of(request: Request) -> str:
    """Whose keys these are: two callers may choose the same one."""
    caller: Caller = request.scope["caller"]
    return caller.prefix or ""


@dataclass
class Once:
    """The key of one request, if it has one; without, nothing here does anything."""

    context: Context
    owner: str
    key: str | None
    route: str
    fingerprint: str = ""
    replayed: bool = False  # set where a replay is answered by the operation itself

    def asked(self, *parts: Asked) -> "Once":
        """Say what the request asks: under the same key, another request is refused."""
        if self.key is not None:
            digest = hashlib.sha256(self.route.encode())
            for part in parts:
                _digest(digest, part)
            self.fingerprint = digest.hexdigest()
        return self

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Give the earlier answer before the work begins, or where it fails for being done twice.

        Raises AnsweredBeforeError, ConflictError `idempotency_conflict`.
        """
        self._replay()
        try:
            yield
        except ServiceError:
            # A twin may have been the one in the way.
            self._replay()
            raise

    def _replay(self) -> None:
        if self.key is None:
            return
        with self.context.sessions.begin() as session:
            answer = self.find(session)
        if answer is not None:
            raise AnsweredBeforeError(answer)

    def find(self, session: Session) -> Json | None:
        """What was kept under the key, if anything was. Raises ConflictError `idempotency_conflict`."""
        if self.key is None:
            return None
        with self._told():
            return idempotency.find(session, self.owner, self.key, self.fingerprint)

    def begin(self, session: Session) -> None:
        """Claim the key, first thing in the transaction that does the work: any lock comes after it.

        Raises as `replaying` does.
        """
        answer = self.claim(session)
        if answer is not None:
            raise AnsweredBeforeError(answer)

    def claim(self, session: Session) -> Json | None:
        """Claim the key; what was kept under it if it was claimed before. Raises ConflictError."""
        if self.key is None:
            return None
        with self._told():
            return idempotency.begin(session, self.owner, self.key, self.fingerprint)

    def keep(
        self,
        session: Session,
        answer: T,
        status: int,
        headers: Mapping[str, str] | None = None,
        *,
        project_id: int | None,
    ) -> T:
        """Keep the answer, last thing in that transaction, for as long as the project is there; returns it."""
        kept = {"status": status, "body": answer.model_dump_json(), "headers": dict(headers or {})}
        self.note(session, kept, project_id=project_id)
        return answer

    def note(self, session: Session, kept: Json, *, project_id: int | None) -> None:
        """Keep anything else that a replay can be answered from."""
        if self.key is not None:
            idempotency.keep(session, self.owner, self.key, kept, project_id)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except KeyReusedError as error:
            raise ConflictError(
                "idempotency_conflict",
                f"the Idempotency-Key {self.key!r} came before with another request: a new request needs a new key",
            ) from error


def _digest(digest: Any, part: Asked) -> None:
    if isinstance(part, BaseModel):
        part = part.model_dump_json(exclude_unset=True)
    if isinstance(part, bool):
        part = str(part)
    if isinstance(part, str):
        part = part.encode()
    if isinstance(part, bytes):
        digest.update(len(part).to_bytes(8, "big") + part)
        return
    start, size = part.tell(), 0
    while block := part.read(_BLOCK):
        size += len(block)
        digest.update(block)
    digest.update(size.to_bytes(8, "big"))
    part.seek(start)


async def _once(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            pattern=r"^[\x20-\x7e]+$",
            description="your own name for this request: sent again within a day, it is answered as it was and not "
            "done again",
        ),
    ] = None,
) -> Once:
    context: Context = request.app.state.context
    return Once(context, owner_of(request), idempotency_key, f"{request.method} {request.url.path}")


OnceOnly = Annotated[Once, Depends(_once)]


def install(app: FastAPI) -> None:
    """Let requests that were answered before leave with that answer."""

    @app.exception_handler(AnsweredBeforeError)
    def answered_before(_: Request, error: AnsweredBeforeError) -> Response:
        return error.response()
