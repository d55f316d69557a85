"""What `auto` chooses, by what is there. The figures behind the rule are in docs/benchmarks.md."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Situation:
    """What the rule looks at."""

    labels: int
    classes: int
    classes_seen: int  # with at least one label
    count: int  # suggestions asked for at once
    trained: bool  # the checkpoint has seen labels


def choose(situation: Situation) -> tuple[str, str]:
    """(strategy, reason in words)."""
    if situation.labels == 0 and not situation.trained:
        return "typiclust", (
            "auto chose typiclust: there is no label yet and the network is untrained, so typical items of different "
            "clusters say most"
        )
    return "mlmoc", "auto chose mlmoc: a checkpoint is prepared, and look-ahead uses every label as it arrives"
