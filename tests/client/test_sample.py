"""The sample project: made once, gone on with after an interruption, never in the way of what is there."""

import sys
import uuid

import pytest

from client.errors import ApiError, MissingPackageError
from client.sdk import Client
from embedded import sample
from embedded.offer import Offer
from embedded.process import wait_until
from embedded.supervisor import Supervisor
from tests.client.typed import lookahead


def test_the_sample_is_made_gone_on_with_and_left_alone(running: Supervisor, client: Client) -> None:
    name = f"sample-{uuid.uuid4().hex[:8]}"
    with pytest.raises(ZeroDivisionError):  # an interruption where it takes longest
        sample.make(client, name, wait=lambda job: 1 // 0)
    assert sample.unfinished(client.project(name))
    assert f"{running.url}/annotate?project={name}" in lookahead(running.url, "sample", "--name", name)
    made = client.project(name)
    assert not sample.unfinished(made)
    assert (made.items, made.held_out, made.labels, made.input_shape) == (1797, 299, 20, [1, 8, 8])
    assert made.kernel_state is not None
    assert made.held_out_accuracy is not None
    assert made.held_out_accuracy > 0.5
    assert client.suggest(name).suggestions[0].item.startswith("digit-")
    assert client.contents(name, ["digit-3"])[0].kind == "image"
    client.label(name, "digit-0", "0")
    jobs = len(client.jobs(name))
    assert sample.make(client, name).labels == client.project(name).labels
    assert len(client.jobs(name)) == jobs


def test_a_project_of_that_name_is_not_touched(running: Supervisor, client: Client) -> None:
    name = f"other-{uuid.uuid4().hex[:8]}"
    client.create_project(name, ["a", "b"])
    assert "another name with --name" in lookahead(running.url, "sample", "--name", name, status=1)
    assert client.project(name).items == 0


def test_without_scikit_learn_it_says_how(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingPackageError, match="pip install scikit-learn"):
        sample.make(client, "nothing-is-made")
    with pytest.raises(ApiError, match="nothing-is-made"):
        client.project("nothing-is-made")


def test_where_there_are_projects_none_is_made(running: Supervisor, client: Client) -> None:
    client.create_project(f"p-{uuid.uuid4().hex[:8]}", ["a", "b"])
    said: list[str] = []
    with Offer(running, said.append):
        assert wait_until(lambda: bool(said), 60)
    assert said == [f"Label in the browser: {running.url}/annotate"]
    assert sample.NAME not in {project.name for project in client.projects()}


def test_with_keys_on_none_is_offered(running: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(running.environment, "LOOKAHEAD_AUTH", "on")
    with Offer(running, lambda line: None) as offer:
        assert not offer.at_work
