"""Losses, checkpoints, squares and batches, at their edges."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.robustness.attacks import (
    L2,
    Attacked,
    apgd,
    cross_entropy,
    dlr,
    fgsm,
    in_batches,
    margins,
    pgd,
    square,
)
from bnnjax.robustness.attacks.apgd import checkpoints
from bnnjax.robustness.attacks.square import side

KEY = jax.random.key(0)


def test_a_margin_is_negative_where_the_prediction_is_wrong() -> None:
    logits = jnp.array([[2.0, 1, 0], [1, 2, 0], [1, 1, 0], [1, 1, 0], [np.nan, 1, 0], [0, np.inf, 0]])
    labels = jnp.array([0, 0, 0, 1, 1, 1])
    found = np.asarray(margins(logits, labels))
    np.testing.assert_array_equal(found[[0, 1, 2]], [1, -1, 0])
    assert -1e-20 < found[3] < 0  # of equals the first is predicted
    assert (found[4], found[5]) == (-np.inf, np.inf)
    np.testing.assert_array_equal(found[:4] < 0, np.argmax(logits[:4], axis=1) != labels[:4])


def test_losses_have_their_literal_values() -> None:
    logits, labels = jnp.array([[3.0, 1, 0, -1], [3, 1, 0, -1]]), jnp.array([0, 2])
    np.testing.assert_allclose(dlr(logits, labels), [-(3 - 1) / 3, -(0 - 3) / 3], rtol=1e-6)
    np.testing.assert_allclose(dlr(1e4 * logits + 7, labels), dlr(logits, labels), rtol=1e-5)
    p = np.exp([1.5, 0.5, 0, -0.5])
    expected = -np.log(p[[0, 2]] / p.sum())
    np.testing.assert_allclose(cross_entropy(logits, labels, 2.0), expected, rtol=1e-6)
    assert np.isfinite(dlr(jnp.ones((1, 3)), jnp.array([0]))).all()
    with pytest.raises(ValueError, match="the DLR loss takes 3 or more classes; got 2"):
        dlr(logits[:, :2], labels)


def test_checkpoints_are_those_of_the_paper() -> None:
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [0, 1]


def test_squares_shrink_as_in_the_authors_code() -> None:
    found = [int(side(jnp.int32(i), 10_000, 32, 32)) for i in (1, 10, 11, 51, 201, 501, 8001, 10_000)]
    shares = 0.8 / 2 ** np.array([0, 0, 1, 2, 3, 4, 9, 9])
    np.testing.assert_array_equal(found, np.maximum(np.round(np.sqrt(shares * 1024)), 1))
    assert int(side(jnp.int32(11), 10_000, 32, 32)) == int(side(jnp.int32(2), 1000, 32, 32))
    assert int(side(jnp.int32(1), 10, 1, 5)) == 1


@jax.custom_jvp
def rounded(images: Any) -> Any:
    total = images.sum(axis=(1, 2, 3))
    return jnp.round(10 * jnp.stack([4 - total, total - 4, total * 0 - 99], axis=1)) / 10


@rounded.defjvp
def _refuse(primals: Any, tangents: Any) -> Any:
    raise TypeError("no derivative")


def test_the_square_attack_asks_for_no_gradient() -> None:
    images, labels = jnp.full((3, 4, 4, 1), 0.2), jnp.zeros(3, jnp.int32)
    found = square(rounded, KEY, images, labels, 0.1, queries=60)
    assert np.asarray(found.is_broken).all()
    assert not np.asarray(square(rounded, KEY, images, labels, 0.01, queries=60).is_broken).any()
    for attack in (fgsm, lambda *given: pgd(*given, steps=1), lambda *given: apgd(*given, steps=1)):
        with pytest.raises(TypeError, match="no derivative"):
            attack(rounded, KEY, images, labels, 0.1)


def test_the_square_attack_keeps_to_its_queries() -> None:
    calls = []

    def counted(images: Any) -> Any:
        calls.append(len(images))
        return jnp.zeros((len(images), 3)) + jnp.array([1.0, 0, 0])

    with jax.disable_jit():
        square(counted, KEY, jnp.zeros((1, 2, 2, 1)), jnp.zeros(1, jnp.int32), 0.1, queries=5)
    assert len(calls) == 5 + 1  # and the image itself


def test_small_gradients_have_a_direction_and_none_has_none() -> None:
    gradients = jnp.stack([jnp.full((2, 2, 1), 1e-25), jnp.zeros((2, 2, 1))])
    np.testing.assert_allclose(L2.steepest(gradients)[0], 0.5, rtol=1e-5)
    np.testing.assert_array_equal(L2.steepest(gradients)[1], 0)


def test_all_images_are_attacked_in_batches_of_one_size() -> None:
    images = np.arange(7, dtype=np.float32).reshape(7, 1, 1, 1) / 8
    labels = np.arange(7)
    seen = []

    def attack(key: Any, x: Any, y: Any) -> Attacked:
        seen.append((len(x), jax.random.key_data(key).tolist()))
        return Attacked(x + 1, y.astype(jnp.float32), x[:, 0, 0, 0])

    found = in_batches(attack, KEY, images, labels, 3)
    np.testing.assert_array_equal(found.images, images + 1)
    np.testing.assert_array_equal(found.margins, labels)
    assert [size for size, _ in seen] == [3, 3, 3]
    assert len({tuple(key) for _, key in seen}) == 3
    with pytest.raises(ValueError, match="there must be an image and a batch size of 1 or more; got 0, 3"):
        in_batches(attack, KEY, images[:0], labels[:0], 3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 4, 4, 1), np.uint8), r"floats in \[0, 1\], \[batch, h, w, c\]; got uint8"),
        (np.full((2, 4, 4, 1), 255.0), "got 255"),
        (np.full((2, 4, 4, 1), -0.1), "got -0.1"),
        (np.zeros((4, 4, 1)), "got float64"),
        (np.where(np.arange(32).reshape(2, 4, 4, 1) == 17, np.nan, 0.5), r"images\[1, 0, 1, 0\] is nan"),
    ],
)
def test_what_cannot_be_attacked_is_refused_with_its_place(images: Any, message: str) -> None:
    labels = np.zeros(len(images), np.int32)
    with pytest.raises(ValueError, match=message):
        fgsm(rounded, KEY, images, labels, 0.1)
    with pytest.raises(ValueError, match=message):
        in_batches(lambda *given: None, KEY, images, labels, 1)


@pytest.mark.parametrize("attack", [pgd, apgd])
def test_no_steps_are_refused(attack: Any) -> None:
    with pytest.raises(ValueError, match="steps must be at least 1; got 0"):
        attack(rounded, KEY, jnp.zeros((1, 2, 2, 1)), jnp.zeros(1, jnp.int32), 0.1, steps=0)
