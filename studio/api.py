"""A Label Studio server, asked through its own interface: bounded in time and size, and redirected nowhere."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Self

import httpx

from studio import payloads
from studio.addresses import GuardedTransport
from studio.errors import RefusedError, UnreachableError
from studio.payloads import Project, Task

TIMEOUT_SECONDS = 60.0
BRIEF_SECONDS = 8.0
# Of one answer in all: a server that sends a byte now and then must not hold us.
ANSWER_SECONDS = 120.0
BRIEF_ANSWER_SECONDS = 15.0
ANSWER_MAX = 64 << 20
PAGE = 200
PREDICTIONS_AT_ONCE = 500
_PAUSES = (0.5, 2.0)  # seconds before a question is repeated
_WORDS_MAX = 500
_MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"


class LabelStudio:
    """One project of one server. Every method raises UnreachableError, RefusedError, AddressRefusedError."""

    def __init__(
        self,
        url: str,
        token: str,
        project: int,
        *,
        private_allowed: bool = True,
        patient: bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Nothing is sent before the first call. `token`: a legacy token, or a personal access token.

        Without patience nothing is asked twice, and an answer has a few seconds.
        """
        self._pauses = _PAUSES if patient else ()
        self._url = url.rstrip("/")
        self._token = token
        self._bearer: str | None = None
        self.project_id = project
        self._answer_seconds = ANSWER_SECONDS if patient else BRIEF_ANSWER_SECONDS
        guarded = GuardedTransport(private_allowed=private_allowed)
        self._abort = guarded.abort
        self._http = httpx.Client(
            transport=transport or guarded,
            timeout=httpx.Timeout(TIMEOUT_SECONDS if patient else BRIEF_SECONDS, connect=BRIEF_SECONDS),
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def project(self) -> Project:
        """The project as it is now."""
        found = payloads.project_of(self._json("GET", f"/api/projects/{self.project_id}/"))
        if found is None:
            raise self._senseless("a project")
        return found

    def change_project(self, **values: Any) -> None:
        """Set fields of the project, such as `model_version` and `sampling`."""
        self._json("PATCH", f"/api/projects/{self.project_id}/", values)

    def users(self) -> dict[int, str]:
        """Addresses of mail by user id."""
        found = self._json("GET", "/api/users")
        people = found if isinstance(found, list) else []
        return {
            person["id"]: person["email"]
            for person in people
            if isinstance(person, dict) and isinstance(person.get("id"), int) and payloads.is_name(person.get("email"))
        }

    def task_pages(self, control: str, since: datetime | None = None) -> Iterator[tuple[int, list[Task]]]:
        """(tasks in all, one page of them with their annotations), by id; `since`: only what changed after."""
        query: dict[str, Any] = {"ordering": ["tasks:id"]}
        if since is not None:
            changed = {"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime"}
            query["filters"] = {"conjunction": "and", "items": [changed | {"value": since.strftime(_MOMENT)}]}
        number, seen, total = 1, 0, 1
        while seen < total:
            parameters = {
                "project": self.project_id,
                "page": number,
                "page_size": PAGE,
                "fields": "all",
                "query": json.dumps(query),
            }
            found = self._json("GET", "/api/tasks", params=parameters)
            entries = found.get("tasks") if isinstance(found, dict) else None
            if not isinstance(entries, list):
                raise self._senseless("a page of tasks")
            total = found["total"] if isinstance(found.get("total"), int) else len(entries)
            if not entries:
                return
            read = (payloads.task_of(entry, control) for entry in entries)
            yield total, [task for task in read if task is not None]
            number, seen = number + 1, seen + len(entries)

    def has_task(self, task: int) -> bool:
        """Whether the task is there."""
        return self._is_there(f"/api/tasks/{task}/")

    def import_predictions(self, predictions: Sequence[dict[str, Any]]) -> None:
        """Add predictions to tasks: all of them or, refused with status 400, none."""
        self._json("POST", f"/api/projects/{self.project_id}/import/predictions", list(predictions), repeat=False)

    def model_versions(self) -> list[str]:
        """Versions that have predictions."""
        found = self._json("GET", f"/api/projects/{self.project_id}/model-versions/")
        return [str(name) for name in found] if isinstance(found, dict) else []

    def delete_predictions(self, model_version: str) -> None:
        """Delete the predictions of one version."""
        self._json("DELETE", f"/api/projects/{self.project_id}/model-versions/", {"model_version": model_version})

    def backends(self) -> list[dict[str, Any]]:
        """The project's ML backends."""
        return self._listed("/api/ml/", {"project": self.project_id})

    def add_backend(self, url: str, title: str) -> None:
        """Connect an ML backend; the server asks for its health first."""
        body = {"project": self.project_id, "url": url, "title": title}
        self._json("POST", "/api/ml/", body, repeat=False)

    def delete_backend(self, number: int) -> None:
        """Take an ML backend away."""
        self._json("DELETE", f"/api/ml/{number}")

    def webhooks(self) -> list[dict[str, Any]]:
        """The project's webhooks."""
        return self._listed("/api/webhooks/", {"project": self.project_id})

    def add_webhook(self, url: str) -> None:
        """Have every event of the project sent to an address."""
        body = {"project": self.project_id, "url": url, "send_payload": True, "send_for_all_actions": True}
        self._json("POST", "/api/webhooks/", body, repeat=False)

    def delete_webhook(self, number: int) -> None:
        """Take a webhook away."""
        self._json("DELETE", f"/api/webhooks/{number}/")

    def picture(self, path: str, most: int) -> bytes:
        """The bytes of a picture that the server itself keeps, of at most so many."""
        own = path.startswith(self._url + "/")
        if not own and (not path.startswith("/") or path.startswith("//")):
            raise RefusedError(
                f"{path[:200]!r} is not on the Label Studio server itself: we fetch nothing elsewhere", 0
            )
        address = path if own else self._url + path
        return self._asked("GET", address, most=most, repeat=True)

    def _is_there(self, path: str) -> bool:
        try:
            self._json("GET", path)
        except RefusedError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return False
            raise
        return True

    def _listed(self, path: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        found = self._json("GET", path, params=params)
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    def _json(
        self, method: str, path: str, body: Any = None, *, params: dict[str, Any] | None = None, repeat: bool = True
    ) -> Any:
        content = self._asked(method, self._url + path, body=body, params=params, repeat=repeat)
        if not content:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            raise self._senseless("JSON") from error

    def _asked(
        self,
        method: str,
        url: str,
        *,
        body: Any = None,
        params: dict[str, Any] | None = None,
        most: int = ANSWER_MAX,
        repeat: bool,
    ) -> bytes:
        """The body of a successful answer; what changes nothing twice is asked again after a failure."""
        for pause in (*self._pauses, None):
            try:
                return self._once(method, url, body, params, most)
            except UnreachableError:
                if pause is None or not repeat:
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _once(self, method: str, url: str, body: Any, params: dict[str, Any] | None, most: int) -> bytes:
        status, content = self._sent(method, url, body, params, most, self._authorization())
        if status == httpx.codes.UNAUTHORIZED and self._bearer is not None:
            # An access token lasts for minutes; the personal token makes another.
            self._bearer = None
            status, content = self._sent(method, url, body, params, most, self._authorization())
        if 300 <= status < 400:
            raise RefusedError(f"{self._url} redirects elsewhere, and we do not follow: give its final address", status)
        if status >= 500:
            raise UnreachableError(f"{self._url} failed with status {status}{_words(content)}")
        if status >= 400:
            raise RefusedError(f"{self._url} refused with status {status}{_words(content)}", status)
        return content

    def _authorization(self) -> str:
        # Personal access tokens are refresh tokens in three parts; legacy tokens are one run of letters.
        if self._token.count(".") != 2:
            return f"Token {self._token}"
        if self._bearer is None:
            address = f"{self._url}/api/token/refresh"
            status, content = self._sent("POST", address, {"refresh": self._token}, None, 1 << 20, None)
            if status != httpx.codes.OK:
                raise RefusedError(f"{self._url} does not take the personal access token{_words(content)}", status)
            try:
                self._bearer = str(json.loads(content)["access"])
            except (ValueError, KeyError, TypeError) as error:
                raise self._senseless("an access token") from error
        return f"Bearer {self._bearer}"

    def _sent(
        self, method: str, url: str, body: Any, params: dict[str, Any] | None, most: int, authorization: str | None
    ) -> tuple[int, bytes]:
        headers = {} if authorization is None else {"Authorization": authorization}
        given = {} if body is None else {"json": body}
        content = bytearray()
        ending = threading.Timer(self._answer_seconds, self._abort)
        ending.daemon = True
        ending.start()
        try:
            with self._http.stream(method, url, params=params, headers=headers, **given) as answer:
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > most:
                        raise RefusedError(f"{self._url} answers with too much: more than {most} bytes", 0)
                return answer.status_code, bytes(content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnreachableError(f"{self._url} does not answer in time ({type(error).__name__})") from error
        finally:
            ending.cancel()

    def _senseless(self, wanted: str) -> UnreachableError:
        return UnreachableError(f"{self._url} answered with something that is not {wanted}: is it a Label Studio?")


def _words(content: bytes) -> str:
    """What an answer says of itself, for people."""
    try:
        found = json.loads(content)
    except ValueError:
        return ""
    if not isinstance(found, dict):
        return ""
    said = found.get("validation_errors") or found.get("detail")
    return "" if not said else f": {said if isinstance(said, str) else json.dumps(said)}"[:_WORDS_MAX]
