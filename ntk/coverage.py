"""The report of which parameter enters the kernel which way."""

from dataclasses import dataclass

from ntk.capture.network import Network
from ntk.capture.plan import Plan


@dataclass(frozen=True)
class Entry:
    """One part of the kernel."""

    parameters: tuple[str, ...]
    size: int  # entries of these parameters
    form: str
    multiplications: float  # per pair of items, as counted when the form was chosen


@dataclass(frozen=True)
class Coverage:
    """Every parameter of a network, by the way it goes."""

    parts: tuple[Entry, ...]
    per_example: dict[str, str]  # parameter -> why it has no rule
    looped: bool  # per-example gradients one item at a time
    unused: tuple[str, ...]  # the outputs do not depend on them

    @property
    def multiplications(self) -> float:
        """Counted per pair of items, all parts together."""
        return sum(entry.multiplications for entry in self.parts)


def coverage_of(plan: Plan, network: Network) -> Coverage:
    """The report of a plan."""

    def size(names: tuple[str, ...]) -> int:
        return sum(network.parameters[name].numel() for name in names)

    entries = [Entry(part.parameters, size(part.parameters), part.form.name, part.form.cost) for part in plan.parts]
    return Coverage(tuple(entries), dict(plan.per_example), plan.loop, tuple(plan.unused))
