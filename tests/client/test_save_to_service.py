"""A network straight from memory into a project, and that the worker's outputs are the network's own."""

import uuid

import numpy as np
import pytest
import torch

import lookahead
from lookahead import Client, save_checkpoint
from tests import factories
from tests.api import names, vectors


def test_saved_into_a_project(client: Client) -> None:
    name, x = f"p-{uuid.uuid4().hex[:8]}", vectors(20)
    client.create_project(name, ["a", "b", "c"])
    client.upload_pool(name, x, names(20))
    model = factories.mlp(6, [16, 8], 3).eval()
    saved = save_checkpoint(model, client, name, inputs=x, loss="squared")
    assert saved.weights is None
    assert saved.job is not None
    assert saved.job.status == "succeeded"
    found = client.predictions(name, names(20), "network").predictions
    own = model(torch.as_tensor(x, dtype=torch.float64)).detach().numpy()
    assert np.allclose([guess.outputs for guess in found], own, atol=1e-5)


def test_where_to_save_is_said(client: Client) -> None:
    model = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="which project"):
        save_checkpoint(model, client)
    with pytest.raises(ValueError, match="goes with a client"):
        save_checkpoint(model, "w.safetensors", "p")


def test_the_package_has_what_people_look_for() -> None:
    assert {"Client", "AsyncClient", "save_checkpoint", "LookaheadError"} <= set(lookahead.__all__)
    assert all(hasattr(lookahead, name) for name in lookahead.__all__)
