# Made from client/key_calls.py by `make client`: change that one.
"""API keys and the audit log."""

from collections.abc import AsyncIterator, Sequence

from api_schemas import keys as wire
from client.aio.calls import Calls, given


class KeyCalls(Calls):
    """API keys and the audit log. They need a key with the scope admin."""

    async def create_key(
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
        return await self._ask(wire.NewKey, "POST", "/keys", json=body)

    async def keys(self) -> AsyncIterator[wire.Key]:
        """Every key that the asking key sees, page by page, live or not."""
        query: dict[str, str] | None = {}
        while query is not None:
            page = await self._ask(wire.KeyList, "GET", "/keys", params=query)
            for entry in page.keys:
                yield entry
            query = None if page.next is None else {"after": page.next}

    async def rotate_key(
        self, prefix: str, *, grace_seconds: int | None = None, expires_days: int | None = None
    ) -> wire.NewKey:
        """A key with the rights of the one with this prefix, which ends after its grace (an hour)."""
        body = given(grace_seconds=grace_seconds, expires_days=expires_days)
        return await self._ask(wire.NewKey, "POST", f"/keys/{prefix}/rotate", json=body)

    async def revoke_key(self, prefix: str) -> wire.Key:
        """End a key. Safe to repeat."""
        return await self._ask(wire.Key, "DELETE", f"/keys/{prefix}", repeatable=True)

    async def audit(self, project: str | None = None, after: int = 0) -> AsyncIterator[wire.AuditEntry]:
        """Entries past the id `after`, oldest first, page by page."""
        more = True
        while more:
            query = {"after": after, "limit": 1000} | given(project=project)
            page = await self._ask(wire.AuditPage, "GET", "/audit", params=query)
            for entry in page.entries:
                yield entry
            after, more = page.next, bool(page.entries)
