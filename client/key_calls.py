"""API keys and the audit log."""

from collections.abc import Iterator, Sequence

from api_schemas import keys as wire
from client.calls import Calls, given


class KeyCalls(Calls):
    """API keys and the audit log. They need a key with the scope admin."""

    def create_key(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        projects: Sequence[str] | None = None,
        requests_per_minute: int | None = None,
        expires_days: int | None = None,
    ) -> wire.NewKey:
        """A new key: its `key` is shown this once. What is left out is as much as the asking key has."""
        body = {"name": name, "scopes": list(scopes)} | given(
            projects=None if projects is None else list(projects),
            requests_per_minute=requests_per_minute,
            expires_days=expires_days,
        )
        return self._ask(wire.NewKey, "POST", "/keys", json=body)

    def keys(self) -> Iterator[wire.Key]:
        """Every key that the asking key sees, page by page, live or not."""
        query: dict[str, str] | None = {}
        while query is not None:
            page = self._ask(wire.KeyList, "GET", "/keys", params=query)
            yield from page.keys
            query = None if page.next is None else {"after": page.next}

    def rotate_key(
        self, prefix: str, *, grace_seconds: int | None = None, expires_days: int | None = None
    ) -> wire.NewKey:
        """A key with the rights of the one with this prefix, which ends after its grace (an hour)."""
        body = given(grace_seconds=grace_seconds, expires_days=expires_days)
        return self._ask(wire.NewKey, "POST", f"/keys/{prefix}/rotate", json=body)

    def revoke_key(self, prefix: str) -> wire.Key:
        """End a key. Safe to repeat."""
        return self._ask(wire.Key, "DELETE", f"/keys/{prefix}", repeatable=True)

    def audit(self, project: str | None = None, after: int = 0) -> Iterator[wire.AuditEntry]:
        """Entries past the id `after`, oldest first, page by page."""
        more = True
        while more:
            query = {"after": after, "limit": 1000} | given(project=project)
            page = self._ask(wire.AuditPage, "GET", "/audit", params=query)
            yield from page.entries
            after, more = page.next, bool(page.entries)
