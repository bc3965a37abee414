"""Stages of training: the stage of each epoch, and where the next begins."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.methods import METHODS, make_method
from bnnjax.methods.base import stage_at, stage_restarts

LENGTHS = [*range(7, 80), 164, 244, 400, 656, 1000]


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 7])
def test_restarts_are_the_epochs_at_which_the_stage_changes(stages):
    method = replace(make_method("fp"), stages=stages)
    # As the step computes the quotient, and as XLA may, by the reciprocal.
    quotients = [np.arange(n, dtype=np.float32) / np.float32(n) for n in LENGTHS]
    products = [np.arange(n, dtype=np.float32) * (np.float32(1) / np.float32(n)) for n in LENGTHS]
    for progress in (quotients, products):
        found = np.asarray(stage_at(jnp.asarray(np.concatenate(progress)), stages))
        for epochs, stage in zip(LENGTHS, np.split(found, np.cumsum(LENGTHS)[:-1]), strict=True):
            np.testing.assert_array_equal(stage, [stages * epoch // epochs for epoch in range(epochs)])
            assert stage_restarts(method, epochs) == [*np.flatnonzero(np.diff(stage)) + 1]
            # No stage is left out, and none is longer than another by more than an epoch.
            lengths = np.bincount(stage, minlength=stages)
            assert lengths.min() > 0
            assert np.ptp(lengths) <= 1


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_inference_is_the_last_stage(stages):
    stage = stage_at(jnp.float32(1), stages)
    assert (stage, stage.dtype) == (stages - 1, jnp.int32)


def test_fewer_epochs_than_stages_are_refused():
    assert stage_restarts(make_method("reactnet"), 2) == [1]
    with pytest.raises(
        ValueError, match=r"reactnet trains in 2 stages of at least an epoch each; got epochs 1$"
    ):
        stage_restarts(make_method("reactnet"), 1)


def test_which_methods_train_in_stages():
    stages = {name: make_method(name).stages for name in METHODS}
    assert {name: count for name, count in stages.items() if count > 1} == {
        "reactnet": 2,
        "sqbwn": 4,
        "sqtwn": 4,
    }
