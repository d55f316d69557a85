"""Old jobs and suggestions are deleted, once an hour by whichever worker comes first."""

import logging

from store import pruning
from store.database import relax_durability
from worker.context import Context

log = logging.getLogger(__name__)

EVERY_SECONDS = 3600
BATCHES_MAX = 10
_TURN = "lookahead:pruned"


def tidy(context: Context) -> int:
    """Delete what is too old, if nobody did in the last hour; returns how many rows. Raises as database and queue do.

    In short transactions, and so many at most at a time: what is left is next time's, seconds later.
    """
    if not context.redis.set(_TURN, context.name, nx=True, ex=EVERY_SECONDS):
        return 0
    total = 0
    for _ in range(BATCHES_MAX):
        if context.stopping.is_set():
            break
        with context.sessions.begin() as session:
            relax_durability(session)
            pruned = pruning.prune(session, context.keep_jobs)
        if pruned is None:
            break
        total += pruned.jobs + pruned.suggestions + pruned.idempotency_keys + pruned.factor_rows
        if not pruned.more:
            break
    else:
        context.redis.delete(_TURN)
    if total:
        log.info("pruned %d rows older than %s", total, context.keep_jobs)
    return total
