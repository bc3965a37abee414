"""A target is a function whose arrays a compiled attack takes as arguments."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bnnjax.robustness.attacks import Target, pgd

KEY = jax.random.key(0)
IMAGES = jnp.asarray(np.random.default_rng(0).uniform(0.2, 0.8, (4, 2, 2, 1)), jnp.float32)
LABELS = jnp.array([0, 1, 2, 0])


def scores(matrix: Any, images: Any, temperature: Any = None) -> Any:
    return images.reshape(len(images), -1) @ matrix * (1 if temperature is None else temperature)


def test_networks_of_one_function_share_a_program() -> None:
    traced = []

    def counted(matrix: Any, images: Any) -> Any:
        traced.append(images.shape)
        return scores(matrix, images)

    found, traces = [], []
    for seed in range(3):
        matrix = jnp.asarray(np.random.default_rng(seed).normal(size=(4, 3)), jnp.float32)
        found.append(pgd(Target(counted, (matrix,)), KEY, IMAGES, LABELS, 0.1, steps=3))
        traces.append(len(traced))
        of_itself = pgd(lambda images, m=matrix: scores(m, images), KEY, IMAGES, LABELS, 0.1, steps=3)
        np.testing.assert_allclose(found[-1].margins, of_itself.margins, atol=1e-6)
    assert traces[0] > 0
    assert traces == [traces[0]] * 3
    assert (np.asarray(found[0].margins) != np.asarray(found[1].margins)).all()


def test_the_temperature_goes_to_the_function_where_there_is_one() -> None:
    target = Target(scores, (jnp.eye(4, 3),))
    np.testing.assert_array_equal(target.at(2.0)(IMAGES), 2 * target(IMAGES))
    np.testing.assert_array_equal(target.at(2.0).at(None)(IMAGES), target(IMAGES))
    assert len(jax.tree.leaves(target)) == 1
    assert len(jax.tree.leaves(target.at(2.0))) == 2
