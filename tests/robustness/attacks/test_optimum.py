"""Attacks against what is known: closed forms of linear models, and brute force over a grid."""

from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.robustness.attacks import L2, LINF, apgd, dlr, fgsm, pgd, square

RNG = np.random.default_rng(0)
# Two classes that count, and one that never wins.
LINEAR = np.concatenate([RNG.normal(size=(9, 2)), np.zeros((9, 1))], axis=1)
OFFSETS = np.array([0.0, 0.1, -1000.0])
HIDDEN, OUT = RNG.normal(size=(3, 8)) * 2, RNG.normal(size=(8, 4))
KEY = jax.random.key(0)
COUNT, EPS = 24, 0.15


def linear(images: Any) -> Any:
    return images.reshape(len(images), -1) @ jnp.asarray(LINEAR, jnp.float32) + jnp.asarray(
        OFFSETS, jnp.float32
    )


def bent(images: Any) -> Any:
    x = images.reshape(len(images), -1)
    hidden = jnp.tanh((x - 0.5) @ jnp.asarray(HIDDEN, jnp.float32))
    return hidden @ jnp.asarray(OUT, jnp.float32)


def bent_margins(points: np.ndarray, label: int) -> np.ndarray:
    logits = np.tanh((points - 0.5) @ HIDDEN) @ OUT
    return logits[:, label] - np.delete(logits, label, axis=1).max(axis=1)


IMAGES = np.random.default_rng(1).uniform(0, 1, (COUNT, 3, 3, 1)).astype(np.float32)
IMAGES[:4] = np.round(IMAGES[:4])  # corners of the box
LABELS = np.random.default_rng(2).integers(0, 2, COUNT).astype(np.int32)
PIXELS = np.random.default_rng(3).uniform(0, 1, (COUNT, 1, 3, 1)).astype(np.float32)
PREDICTED = np.asarray(jnp.argmax(bent(PIXELS), axis=1), np.int32)

ATTACKS = {
    "fgsm": fgsm,
    "pgd": partial(pgd, steps=10),
    "apgd_ce": partial(apgd, steps=10),
    "apgd_dlr": partial(apgd, steps=10, loss=dlr),
    "square": partial(square, queries=400),
    "pgd_l2": partial(pgd, steps=60, ball=L2),
    "apgd_l2": partial(apgd, steps=60, ball=L2),
}


def linear_optimum(eps: float) -> np.ndarray:
    """The smallest margin in the l_inf ball and the box, by what each pixel can add."""
    x, rows = IMAGES.reshape(COUNT, -1).astype(np.float64), np.arange(COUNT)
    logits = x @ LINEAR + OFFSETS
    slope = (LINEAR[:, LABELS] - LINEAR[:, 1 - LABELS]).T
    low, high = np.maximum(x - eps, 0) - x, np.minimum(x + eps, 1) - x
    margin = logits[rows, LABELS] - logits[rows, 1 - LABELS]
    return margin + np.minimum(slope * low, slope * high).sum(axis=1)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd_ce", "apgd_dlr", "square"])
def test_a_linear_model_is_moved_as_far_as_it_can_be(name: str) -> None:
    found = ATTACKS[name](linear, KEY, jnp.asarray(IMAGES), jnp.asarray(LABELS), jnp.float32(EPS))
    np.testing.assert_allclose(found.margins, linear_optimum(EPS), atol=1e-4)


@pytest.mark.parametrize(("name", "tolerance"), [("pgd_l2", 0.02), ("apgd_l2", 2e-3)])
def test_a_linear_model_is_moved_as_far_as_cauchy_and_schwarz_allow(name: str, tolerance: float) -> None:
    central = 0.4 + 0.2 * IMAGES  # so far from 0 and 1 that the box is of no matter
    found = ATTACKS[name](linear, KEY, jnp.asarray(central), jnp.asarray(LABELS), jnp.float32(EPS))
    logits, rows = central.reshape(COUNT, -1).astype(np.float64) @ LINEAR + OFFSETS, np.arange(COUNT)
    norm = np.linalg.norm(LINEAR[:, 0] - LINEAR[:, 1])
    optimum = logits[rows, LABELS] - logits[rows, 1 - LABELS] - EPS * norm
    assert (np.asarray(found.margins) >= optimum - 1e-4).all()
    np.testing.assert_allclose(found.margins, optimum, atol=tolerance)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("eps", [0.0, 8 / 255, 1.0])
def test_what_is_found_lies_in_the_ball_and_in_the_box(name: str, eps: float) -> None:
    found = ATTACKS[name](linear, KEY, jnp.asarray(IMAGES), jnp.asarray(LABELS), jnp.float32(eps))
    points, size = np.asarray(found.images, np.float64), float(np.float32(eps))
    assert points.min() >= 0
    assert points.max() <= 1
    moved = (points - IMAGES).reshape(COUNT, -1)
    if name.endswith("l2"):
        assert np.linalg.norm(moved, axis=1).max() <= size * (1 + 1e-5) + 2e-7
    else:
        assert np.abs(moved).max() <= size + 2.0**-24
    own = np.asarray(linear(jnp.asarray(IMAGES)), np.float64)
    rows = np.arange(COUNT)
    before = own[rows, LABELS] - np.delete(own, 2, axis=1)[rows, 1 - LABELS]
    assert (np.asarray(found.margins) <= before + 1e-5).all()  # never worse than the image itself


def test_brute_force_finds_no_more_and_no_less() -> None:
    """Over a grid of 41^3 points of the ball, its corners among them; between them the slope is bounded."""
    spacing = 2 * EPS / 40
    # |d margin| <= sum_i |dx_i| max over labels of sum_h |HIDDEN_ih| |OUT_h. - OUT_h.|, half a spacing away.
    spread = np.ptp(OUT, axis=1)
    slack = spacing / 2 * (np.abs(HIDDEN) @ spread).sum()
    smallest = []
    for image, label in zip(PIXELS.reshape(COUNT, 3), PREDICTED, strict=True):
        axes = [np.linspace(max(p - EPS, 0), min(p + EPS, 1), 41) for p in image.astype(np.float64)]
        smallest.append(bent_margins(np.array(list(product(*axes))), label).min())
    lowest = np.full(COUNT, np.inf)
    for name, seed in product(("fgsm", "pgd", "apgd_ce", "apgd_dlr", "square"), range(3)):
        found = ATTACKS[name](
            bent, jax.random.key(seed), jnp.asarray(PIXELS), jnp.asarray(PREDICTED), jnp.float32(EPS)
        )
        margins = np.asarray(found.margins, np.float64)
        points = np.asarray(found.images, np.float64).reshape(COUNT, 3)
        again = [bent_margins(p[None], label)[0] for p, label in zip(points, PREDICTED, strict=True)]
        np.testing.assert_allclose(margins, again, atol=1e-5)  # the margin is that of the point
        assert (margins >= np.array(smallest) - slack).all()
        lowest = np.minimum(lowest, margins)
    # The attacks between them reach the worst case, and so the same images stand.
    assert np.mean(lowest <= np.array(smallest) + 1e-3) >= 0.9
    np.testing.assert_array_equal(lowest < 0, np.array(smallest) < 0)
    assert 0.2 < np.mean(lowest < 0) < 0.9


def test_apgd_is_the_algorithm_of_the_paper() -> None:
    """Algorithm 1 for one image at a time in NumPy, from the same random point."""
    steps, eps = 30, 0.2
    places = [0, 7, 13, 18, 21, 24, 27, 28, 30]  # ceil of 0, 6.6, 12.3, 17.1, 21, 24, 26.1, 27.9, 29.7
    images, labels = jnp.asarray(PIXELS[:6]), PREDICTED[:6]
    starts = np.asarray(LINF.random(KEY, images, jnp.float32(eps)), np.float64).reshape(6, 3)
    expected = []
    for image, start, label in zip(PIXELS[:6].reshape(6, 3).astype(np.float64), starts, labels, strict=True):

        def f(x: np.ndarray, label: int = label) -> float:
            z = np.tanh((x - 0.5) @ HIDDEN) @ OUT
            return float(np.log(np.exp(z).sum()) - z[label])

        def slope(x: np.ndarray, label: int = label) -> np.ndarray:
            h = np.tanh((x - 0.5) @ HIDDEN)
            z = h @ OUT
            p = np.exp(z) / np.exp(z).sum() - np.eye(4)[label]
            return HIDDEN @ ((1 - h**2) * (OUT @ p))

        def into(x: np.ndarray, image: np.ndarray = image) -> np.ndarray:
            return np.clip(np.clip(x, image - eps, image + eps), 0, 1)

        eta, visited = 2 * eps, [start]
        old, x = start, into(start + eta * np.sign(slope(start)))
        visited.append(x)
        top = max((start, x), key=f)
        risen, tops, halved = int(f(x) > f(start)), [f(start)], [False]
        for k in range(2, steps + 1):
            z = into(x + eta * np.sign(slope(x)))
            new = into(x + 0.75 * (z - x) + 0.25 * (x - old))
            risen += f(new) > f(x)
            old, x = x, new
            visited.append(x)
            top = max((top, x), key=f)
            if k in places:
                length = k - places[places.index(k) - 1]
                slow, still = risen < 0.75 * length, not halved[-1] and f(top) == tops[-1]
                tops.append(f(top))
                halved.append(slow or still)
                risen = 0
                if halved[-1]:
                    eta, x = eta / 2, top
        expected.append(bent_margins(np.array([image, *visited]), label).min())
    found = apgd(bent, KEY, images, jnp.asarray(labels), jnp.float32(eps), steps=steps)
    np.testing.assert_allclose(found.margins, expected, atol=1e-4)


def test_iterative_attacks_begin_where_their_key_says() -> None:
    """For a function without slope the result is the start."""
    images, labels = jnp.full((2, 3, 3, 1), 0.5), jnp.zeros(2, jnp.int32)

    def level(x: Any) -> Any:
        value = jax.lax.stop_gradient(jnp.abs(x - 0.5).sum(axis=(1, 2, 3)))
        return jnp.stack([-value, value * 0 - 5, value * 0 - 6], axis=1)

    for attack in (partial(pgd, steps=2), partial(apgd, steps=2)):
        for ball in (LINF, L2):
            points = {
                seed: np.asarray(attack(level, jax.random.key(seed), images, labels, 0.1, ball=ball).images)
                for seed in (0, 1)
            }
            assert (points[0] != points[1]).any()
            np.testing.assert_array_equal(
                points[1], np.asarray(ball.random(jax.random.key(1), images, jnp.float32(0.1)))
            )
