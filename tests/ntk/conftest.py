"""LOOKAHEAD_TEST_DEVICE=cuda runs the same tests on a GPU."""

import os

import pytest
import torch

DEVICE = torch.device(os.environ.get("LOOKAHEAD_TEST_DEVICE", "cpu"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    return DEVICE
