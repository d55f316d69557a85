"""A stand-in server for each test that wants one."""

from collections.abc import Iterator

import pytest

from tests.label_studio.fake import FakeLabelStudio, fake_label_studio
from tests.service.conftest import keyed
from tests.worker.conftest import quick, working

__all__ = ["keyed", "quick", "working"]


@pytest.fixture
def studio() -> Iterator[FakeLabelStudio]:
    with fake_label_studio() as fake:
        yield fake
