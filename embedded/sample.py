"""The project to try things with: scikit-learn's handwritten digits, as pictures.

`python -m embedded.sample --url URL` makes it on a service that has no project yet, and says where to label.
"""

import argparse
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from api_schemas.projects import Project
from client.errors import ApiError, LookaheadError, MissingPackageError
from client.sdk import Client

NAME = "digits"
CLASSES = [str(digit) for digit in range(10)]
SHAPE = (1, 8, 8)
# Every so many digits one is held out: whoever wrote them wrote labeled ones too.
HELD_OUT_EVERY = 6
LABELS_PER_CLASS = 2
HIDDEN = [128]

Say = Callable[[str], None]


class OtherProjectError(LookaheadError):
    """A project of that name is there, and it is not the sample."""


def make(
    client: Client, name: str = NAME, *, say: Say = lambda line: None, wait: Callable[[str], object] | None = None
) -> Project:
    """The sample project, with a model that is ready; what an earlier attempt left is gone on with.

    `wait` waits for a job by its id, if not as the client does.
    Raises MissingPackageError without scikit-learn, OtherProjectError, and what the service refuses.
    """
    x, truth = _digits()
    ids = [f"digit-{row}" for row in range(len(x))]
    held_out = np.arange(len(x)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    project = _project(client, name)
    if project.items == project.held_out:
        say(f"Making the sample project {name}: {len(x):,} handwritten digits ...")
        client.upload_pool(name, x[~held_out], [ids[row] for row in np.flatnonzero(~held_out)])
    if project.held_out == 0:
        client.upload_pool(name, x[held_out], [ids[row] for row in np.flatnonzero(held_out)], held_out=True)
    if project.kernel_state is None:
        client.held_out_labels(name, [(ids[row], CLASSES[truth[row]]) for row in np.flatnonzero(held_out)])
    if project.label_seq == 0:
        client.labels(name, [(ids[row], CLASSES[truth[row]]) for row in _first(truth, ~held_out)], annotator="sample")
    if project.kernel_state is None:
        job = project.preparing or client.train(name, "mlp", {"hidden": HIDDEN}).id
        (wait or client.wait_for)(job)
    return client.project(name)


def unfinished(project: Project) -> bool:
    """Whether this is the sample, and its making was interrupted."""
    return _is_sample(project) and project.kernel_state is None


def _is_sample(project: Project) -> bool:
    return project.classes == CLASSES and project.input_shape in (None, list(SHAPE))


def _project(client: Client, name: str) -> Project:
    try:
        return client.create_project(name, CLASSES)
    except ApiError as error:
        if error.code != "project_exists":
            raise
    project = client.project(name)
    if not _is_sample(project):
        raise OtherProjectError(
            f"There is a project {name} already, and it is not the sample: give the sample another name with --name."
        )
    return project


def _digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Pictures (N, 1, 8, 8) in 0..1, and their classes."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise MissingPackageError("The sample project", "scikit-learn") from error
    pixels, truth = load_digits(return_X_y=True)
    return (pixels / 16).astype(np.float32).reshape(-1, *SHAPE), truth.astype(np.int64)


def _first(truth: npt.NDArray[np.int64], pool: npt.NDArray[np.bool_]) -> list[int]:
    """Pool rows that are labeled from the start: a few of each class."""
    of_class = [np.flatnonzero(pool & (truth == digit))[:LABELS_PER_CLASS] for digit in range(len(CLASSES))]
    return [int(row) for rows in of_class for row in rows]


def offer(client: Client, url: str, say: Say) -> None:
    """Make the sample where there is no project yet, and say where to label. Raises as `make` does."""
    projects = {project.name: project for project in client.projects()}
    if not projects or (list(projects) == [NAME] and unfinished(projects[NAME])):
        projects[NAME] = make(client, say=say)
    if NAME in projects:
        say(f"Label {NAME} in the browser: {url}/annotate?project={NAME}")
    else:
        say(f"Label in the browser: {url}/annotate")


def main() -> int:
    """Offer the sample, for `lookahead up`."""
    parser = argparse.ArgumentParser(prog="python -m embedded.sample")
    parser.add_argument("--url", required=True)
    url: str = parser.parse_args().url

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    try:
        with Client(url, None) as client:
            offer(client, url, say)
    except LookaheadError as error:
        say(f"There is no sample project yet: {error}. Afterwards `lookahead sample` makes it.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
