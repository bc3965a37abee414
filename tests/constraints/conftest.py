"""Fixtures of the tests of constraints."""

from functools import partial

import pytest
from noise import Train, noise, trained


@pytest.fixture(scope="session")
def train() -> Train:
    """train(steps, field=value, ...): the network and its states, the first before any step."""
    return partial(trained, noise())
