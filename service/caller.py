"""Who is calling, worked out once per request and handed on as a value."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import get_args

from api_schemas.keys import Scope

SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True)
class Caller:
    """The key behind a request, or nobody's in particular. `projects` None means all of them."""

    key_id: int | None = None
    prefix: str | None = None
    scopes: frozenset[str] = field(default=frozenset())
    projects: frozenset[str] | None = frozenset()
    requests_per_minute: int | None = None
    expires_at: datetime | None = None

    def may(self, scopes: frozenset[Scope]) -> bool:
        """Whether one of `scopes` is among the caller's; admin implies them all."""
        return "admin" in self.scopes or not scopes.isdisjoint(self.scopes)

    def sees(self, project: str) -> bool:
        """Whether a project of this name exists as far as the caller is concerned."""
        return self.projects is None or project in self.projects


# A request that has shown no key where keys are on.
NOBODY = Caller()
# Where keys are off, whoever reaches the service may do everything.
ANYBODY = Caller(scopes=frozenset({"admin"}), projects=None)
