# Made from client/lease_calls.py by `make client`: change that one.
"""Leases: hold on to items, give them back, see who holds what."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from api_schemas import leases as lease_wire
from client.aio.calls import Calls, given, path_of


class LeaseCalls(Calls):
    """Leases on suggested items."""

    async def renew_leases(
        self,
        project: str,
        annotator: str,
        items: Sequence[str] | None = None,
        *,
        lease_seconds: int | None = None,
    ) -> lease_wire.LeasesRenewed:
        """Hold items for longer, by default all that the annotator holds. Safe to repeat."""
        body = {"project": project, "annotator": annotator, **given(items=items, lease_seconds=lease_seconds)}
        return await self._ask(lease_wire.LeasesRenewed, "POST", "/leases/renew", repeatable=True, json=body)

    async def release_leases(
        self, project: str, annotator: str, items: Sequence[str] | None = None
    ) -> lease_wire.LeasesReleased:
        """Give items back, by default all that the annotator holds."""
        body = {"project": project, "annotator": annotator, **given(items=items)}
        return await self._ask(lease_wire.LeasesReleased, "POST", "/leases/release", json=body)

    async def leases(self, project: str, annotator: str | None = None) -> AsyncIterator[lease_wire.Lease]:
        """Who holds what, in pool order, page by page."""
        after: int | None = -1
        while after is not None:
            query: dict[str, Any] = {"after": after, "limit": 1000, **given(annotator=annotator)}
            page = await self._ask(lease_wire.LeasePage, "GET", path_of(project, "leases"), params=query)
            for entry in page.leases:
                yield entry
            after = page.next
