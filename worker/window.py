"""The window: the labeled items, then candidates drawn from the unlabeled pool by a seed."""

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from store import labels, pools

Positions = npt.NDArray[np.int64]


def draw(session: Session, project_id: int, size: int | str, seed: int) -> tuple[int, Positions]:
    """(label_seq, item positions (N,)): labeled items in order of arrival, then candidates in pool order.

    `size` counts candidates and may be "all".
    """
    label_seq, touched = labels.touched(session, project_id, 0)
    labeled = [state.position for state in touched if state.label is not None]
    unlabeled = np.array(pools.unlabeled_positions(session, project_id), dtype=np.int64)
    if size != "all" and len(unlabeled) > int(size):
        generator = np.random.default_rng([seed, project_id])
        unlabeled = np.sort(generator.choice(unlabeled, size=int(size), replace=False))
    return label_seq, np.concatenate([np.array(labeled, dtype=np.int64), unlabeled])
