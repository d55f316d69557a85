"""Memory of a kernel model, reckoned before it is taken: labeled items are always in the window, however many come."""

from bisect import bisect_right
from dataclasses import dataclass, replace

from ntk.posterior import Posterior
from store.costs import evaluate
from worker.context import Context
from worker.errors import JobError

# Bytes at the worst moment, over N items of the window, n of them labeled and m of them candidates, C classes, s bytes
# of a kernel entry; g is 1.3 while the kernel is copied to a larger place (an eighth larger each way), else 0.
# Live: kernel, covariance, factor, cross-covariances of a refresh, outputs.
LIVE = "s*((1 + g)*N*N + m*m + min(n, m)*N) + 4*n*n + 16*n*m + 24*C*(N + n + m)"
# Preparing: the same without candidates, but with the labeled block factored as a whole.
PREPARING = "s*(N*N + n*N) + 52*n*n + 24*C*(N + n)"
_GROWTH = 1.3


@dataclass(frozen=True)
class Sizes:
    """A kernel model to be."""

    items: int
    labels: int
    candidates: int
    classes: int
    entry: int  # bytes of a kernel entry
    joining: int = 0  # items whose rows are appended to a kernel that is there already

    def bytes_by(self, formula: str) -> int:
        """What the formula says."""
        values = {
            "N": self.items,
            "n": self.labels,
            "m": self.candidates,
            "C": self.classes,
            "s": self.entry,
            "g": _GROWTH if self.joining else 0.0,
        }
        return int(evaluate(formula, values))


def admit_prepared(context: Context, sizes: Sizes) -> None:
    """Raise JobError `too_large` unless the state can be prepared, and loaded after that."""
    _admit(context, sizes, (PREPARING, LIVE))


def admit_loaded(context: Context, sizes: Sizes) -> None:
    """Raise JobError `too_large` unless the state fits when it is loaded; make room for it."""
    _admit(context, sizes, (LIVE,))


def admit_labels(context: Context, model: Posterior, new: int, outside: int) -> None:
    """Raise JobError `too_large` unless so many labels more fit, `outside` of them on items outside the window."""
    sizes = Sizes(
        items=model.size + outside,
        labels=model.n + new,
        candidates=model.m,
        classes=model.classes,
        entry=model.gram.dtype.itemsize,
        joining=outside,
    )
    _admit(context, sizes, (LIVE,))


def _admit(context: Context, sizes: Sizes, formulas: tuple[str, ...]) -> None:
    allowed = context.live.max_bytes + context.kernel_bytes
    needed = max(sizes.bytes_by(formula) for formula in formulas)
    if needed <= allowed:
        context.live.make_room(needed)
        return

    def with_labels(labels: int) -> int:
        other = replace(sizes, labels=labels, items=sizes.candidates + labels)
        return max(other.bytes_by(formula) for formula in formulas)

    most = bisect_right(range(1, sizes.labels + 1), allowed, key=with_labels)
    raise JobError(
        "too_large",
        f"the kernel model of {sizes.labels} labels and {sizes.candidates} candidates would take {plain(needed)}, and "
        f"the worker allows {plain(allowed)}: "
        + (f"{most} labels fit beside as many candidates" if most else "not even so many candidates alone fit")
        + "; prepare a smaller window, withdraw labels, or raise LOOKAHEAD_LIVE_BYTES",
    )


def plain(size: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
