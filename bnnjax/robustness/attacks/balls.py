"""Norm balls of attacks: random points, directions of steepest ascent, and projections."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Ball(NamedTuple):
    """All points within eps of an image in some norm and within [0, 1]; images are [n, h, w, c]."""

    name: str
    # (points, images, eps []) -> the nearest points in the ball, clipped to [0, 1]
    project: Callable[[Array, Array, Array], Array]
    # gradients -> the directions of norm 1 in which the loss grows fastest; 0 where a gradient is 0
    steepest: Callable[[Array], Array]
    # (key, images, eps []) -> random points of the ball
    random: Callable[[Array, Array, Array], Array]


def lengths(x: Array) -> Array:
    """Returns the Euclidean norm of each image, [n, 1, 1, 1]."""
    return jnp.sqrt(jnp.sum(x * x, axis=(1, 2, 3), keepdims=True))


def _into_box(points: Array, images: Array, eps: Array) -> Array:
    return jnp.clip(points, jnp.maximum(images - eps, 0), jnp.minimum(images + eps, 1))


def _random_in_box(key: Array, images: Array, eps: Array) -> Array:
    noise = jax.random.uniform(key, images.shape, images.dtype, -1, 1)
    return _into_box(images + eps * noise, images, eps)


def _into_sphere(points: Array, images: Array, eps: Array) -> Array:
    # Clipping moves every pixel towards that of the image, which is in [0, 1].
    moved = points - images
    return jnp.clip(images + moved * jnp.minimum(1, eps / _or_one(lengths(moved))), 0, 1)


def _or_one(x: Array) -> Array:
    return jnp.where(x > 0, x, 1)


def _normalized(gradients: Array) -> Array:
    # In two steps, since squares of small gradients vanish in float32; and no divisor is small, since XLA
    # divides by the product of the two.
    largest = jnp.max(jnp.abs(gradients), axis=(1, 2, 3), keepdims=True)
    scaled = gradients / _or_one(largest)
    return scaled / _or_one(lengths(scaled))


def _random_in_sphere(key: Array, images: Array, eps: Array) -> Array:
    direction, radius = jax.random.split(key)
    noise = jax.random.normal(direction, images.shape, images.dtype)
    count = images.size // max(len(images), 1)
    share = jax.random.uniform(radius, (len(images), 1, 1, 1)) ** (1 / count)
    return _into_sphere(images + eps * share * _normalized(noise), images, eps)


LINF = Ball("linf", _into_box, jnp.sign, _random_in_box)
L2 = Ball("l2", _into_sphere, _normalized, _random_in_sphere)
