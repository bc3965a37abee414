"""What a network takes when it is stored: bits by hand."""

import jax.numpy as jnp
import pytest

from bnnjax.methods import METHODS, make_method
from bnnjax.runs.results import stored_bits


@pytest.mark.parametrize(
    ("method", "learned", "counted"),
    [
        ("irnet", {}, 0),
        ("recu", {"scale": 4}, 0),  # folds into the batch norm
        ("rbnn", {"scale": 4, "angle": 1}, 0),  # the angle turns weights whose signs are stored
        ("bnnplus", {"alpha": 1}, 0),
        ("dsq", {"weight_softness": 1, "activation_softness": 1}, 0),
        ("xnorplusplus", {"filter_scale": 4, "row_scale": 8, "column_scale": 7}, 15),
        ("reactnet", {"threshold": 2}, 2),
        ("abcnet", {"shift": 1, "factor": 1}, 2),
    ],
)
def test_what_folds_away_or_only_trains_takes_no_bits(method, learned, counted):
    layer = {"latent": jnp.zeros((3, 3, 2, 4))}
    if learned:
        layer["learned"] = {name: jnp.zeros(count) for name, count in learned.items()}
    unit = {"conv": layer, "norm": {"gain": jnp.ones(4), "bias": jnp.zeros(4)}}
    params = {"block": {"conv1": unit}, "head": {"dense": {"kernel": jnp.zeros((4, 5))}}}
    assert make_method(method).learned.keys() == learned.keys()
    assert stored_bits(params, make_method(method)) == 72 + 32 * (8 + 20 + counted)


@pytest.mark.parametrize("name", METHODS)
def test_what_only_trains_is_learned(name):
    method = make_method(name)
    assert method.only_trained <= method.learned.keys()
