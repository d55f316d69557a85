"""When what is killed: a seeded list of strikes."""

import random
from dataclasses import dataclass

SERVICE = "service"
BULK = "worker-bulk"
INTERACTIVE = ("worker-interactive-1", "worker-interactive-2")
POSTGRES = "postgres"
CONNECTION = "postgres connection"
VALKEY = "valkey"
FLUSH = "valkey emptied"
# Listed as often as they come up in one round.
ROUND = (SERVICE, SERVICE, BULK, *INTERACTIVE, *INTERACTIVE, POSTGRES, POSTGRES, CONNECTION, VALKEY, VALKEY, FLUSH)
TWO_AT_ONCE = 0.15
WORK_SECONDS_MAX = 3.0


@dataclass(frozen=True)
class Strike:
    """Parts that are struck at the same moment, `after` seconds of work."""

    parts: tuple[str, ...]
    after: float

    @property
    def name(self) -> str:
        """What was struck, in words."""
        return " + ".join(self.parts)


def planned(kills: int, seed: int) -> list[Strike]:
    """As many strikes as asked for. Rounds are shuffled, so that every part's turn comes early and often."""
    generator = random.Random(f"strikes {seed}")
    parts: list[str] = []
    while len(parts) < kills:
        parts += generator.sample(ROUND, len(ROUND))
    strikes = []
    for part in parts[:kills]:
        struck = [part]
        if generator.random() < TWO_AT_ONCE:
            struck.append(generator.choice([other for other in ROUND if not _together(part, other)]))
        strikes.append(Strike(tuple(struck), generator.uniform(0, WORK_SECONDS_MAX)))
    return strikes


def _together(one: str, other: str) -> bool:
    """Whether two strikes would be one: the same part, or what dies with it."""
    return any(one in group and other in group for group in ((SERVICE,), (BULK,), *((w,) for w in INTERACTIVE))) or (
        one.split()[0] == other.split()[0] and one.split()[0] in {POSTGRES, VALKEY}
    )
