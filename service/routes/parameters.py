"""Parameters that several routes take."""

import re
from typing import Annotated

from fastapi import Header, Path, Query

from api_schemas.common import Name

WAIT_DEFAULT_SECONDS = 10.0
WAIT_MAX_SECONDS = 60.0
_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?:$|[,;])", re.IGNORECASE)

ProjectName = Annotated[Name, Path(description="the project's name")]
Limit = Annotated[int, Query(ge=1, le=1000, description="most entries on the page")]
# Bounds of the database's integers: past them a page is empty by definition.
Position = Annotated[int, Query(ge=-1, le=2**31 - 1, description="the `next` of the page before")]


def wait_seconds(
    prefer: Annotated[
        str | None, Header(max_length=200, description="`wait=N`: answer 202 with a job after N seconds")
    ] = None,
) -> float:
    """Seconds to wait for a job, from `Prefer: wait=N` (RFC 7240)."""
    found = _WAIT.search(prefer or "")
    return min(float(found[1]), WAIT_MAX_SECONDS) if found else WAIT_DEFAULT_SECONDS
