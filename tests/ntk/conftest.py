"""LOOKAHEAD_TEST_DEVICE=cuda runs the same tests on a GPU."""

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device(os.environ.get("LOOKAHEAD_TEST_DEVICE", "cpu"))
