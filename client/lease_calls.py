"""Leases: hold on to items, give them back, see who holds what."""

from collections.abc import Iterator, Sequence
from typing import Any

from api_schemas import leases as lease_wire
from client.calls import Calls, given, path_of


class LeaseCalls(Calls):
    """Leases on suggested items."""

    def renew_leases(
        self,
        project: str,
        annotator: str,
        items: Sequence[str] | None = None,
        *,
        lease_seconds: int | None = None,
    ) -> lease_wire.LeasesRenewed:
        """Hold items for longer, by default all that the annotator holds. Safe to repeat."""
        body = {"project": project, "annotator": annotator, **given(items=items, lease_seconds=lease_seconds)}
        return self._ask(lease_wire.LeasesRenewed, "POST", "/leases/renew", repeatable=True, json=body)

    def release_leases(
        self, project: str, annotator: str, items: Sequence[str] | None = None
    ) -> lease_wire.LeasesReleased:
        """Give items back, by default all that the annotator holds."""
        body = {"project": project, "annotator": annotator, **given(items=items)}
        return self._ask(lease_wire.LeasesReleased, "POST", "/leases/release", json=body)

    def leases(self, project: str, annotator: str | None = None) -> Iterator[lease_wire.Lease]:
        """Who holds what, in pool order, page by page."""
        after: int | None = -1
        while after is not None:
            query: dict[str, Any] = {"after": after, "limit": 1000, **given(annotator=annotator)}
            page = self._ask(lease_wire.LeasePage, "GET", path_of(project, "leases"), params=query)
            yield from page.leases
            after = page.next
