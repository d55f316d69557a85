"""Requests per minute: counted on the deployment's Redis, or by this process while that is away."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

log = logging.getLogger(__name__)

# A limit must not cost a request more than this, nor ask a Redis that is away for every request.
_TIMEOUT_SECONDS = 0.25
_AWAY_SECONDS = 5.0
WINDOW_SECONDS = 60


@dataclass(frozen=True)
class Verdict:
    """Whether a request is within its limit, how many more are, and seconds until there is room for another."""

    allowed: bool
    limit: int
    remaining: int
    seconds: int

    def headers(self) -> dict[str, str]:
        """The fields of the IETF draft `RateLimit header fields for HTTP`, and Retry-After on a refusal."""
        found = {
            "RateLimit-Policy": f'"key";q={self.limit};w={WINDOW_SECONDS}',
            "RateLimit": f'"key";r={self.remaining};t={self.seconds}',
        }
        return found if self.allowed else found | {"Retry-After": str(max(self.seconds, 1))}


class Limiter:
    """Counts in windows that slide: no burst of twice the limit where two minutes meet."""

    def __init__(self, redis_url: str) -> None:
        """Nothing is opened before the first use."""
        options: dict[str, Any] = {"socket_timeout": _TIMEOUT_SECONDS, "retry": Retry(NoBackoff(), 0)}
        if not redis_url.startswith("unix"):
            options["socket_connect_timeout"] = _TIMEOUT_SECONDS
        self._pool = ConnectionPool.from_url(redis_url, **options)
        self._shared = SlidingWindowCounterRateLimiter(
            RedisStorage("redis://", connection_pool=self._pool, key_prefix="lookahead:limits")
        )
        self._own: SlidingWindowCounterRateLimiter | None = None
        self._own_lock = threading.Lock()
        self._away_until = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._pool.disconnect()

    def take(self, limit: int, kind: str, who: str) -> Verdict:
        """Count a request of `who` and say whether it is within `limit` per minute. Blocks on Redis, briefly."""
        return self._ask(limit, kind, who, lambda counter, item: counter.hit(item, kind, who))

    def room(self, limit: int, kind: str, who: str) -> Verdict:
        """What `take` would say; counts nothing."""
        return self._ask(limit, kind, who, lambda counter, item: counter.test(item, kind, who))

    def _ask(
        self,
        limit: int,
        kind: str,
        who: str,
        question: Callable[[SlidingWindowCounterRateLimiter, RateLimitItemPerMinute], bool],
    ) -> Verdict:
        item = RateLimitItemPerMinute(limit)

        def answer(counter: SlidingWindowCounterRateLimiter) -> Verdict:
            allowed = question(counter, item)
            stats = counter.get_window_stats(item, kind, who)
            seconds = max(0, math.ceil(stats.reset_time - time.time()))
            return Verdict(allowed, limit, max(0, stats.remaining) if allowed else 0, seconds)

        if time.monotonic() >= self._away_until:
            try:
                return answer(self._shared)
            except RedisError as error:
                self._away_until = time.monotonic() + _AWAY_SECONDS
                log.warning("requests are counted by each process alone, Redis is away: %s", error)
        return answer(self._alone())

    def _alone(self) -> SlidingWindowCounterRateLimiter:
        with self._own_lock:
            if self._own is None:
                self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
            return self._own
