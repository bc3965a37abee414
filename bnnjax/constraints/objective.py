"""A network under a constraint: what a pass shows the constraint, what it learns and what it changes."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.constraints import After, Constraint, Seen
from bnnjax.constraints.base import INPUT_GRADIENT, InputGradient
from bnnjax.methods import Method, Values
from bnnjax.models.network import COLLECTIONS, Collected, Network, final_schedule, infer
from bnnjax.nn.units import KERNELS, STAGES, replace_gains
from bnnjax.types import AXIS, Tree

LCR = "lcr"  # the network that the constraint of this name compares with, among a step's teachers
LEARNED = "learned"  # where constraints have theirs among the parameters; none below that name decays


class Given(NamedTuple):
    """What a forward pass is given of the moment it is in."""

    values: Values  # the method's schedule, and in training key and epoch_begins
    progress: Array  # epoch / epochs, [] float32; 1 at inference
    teacher: Tree = ()  # in training as in `Images`


class Constrained(NamedTuple):
    """The functions of a network under a constraint."""

    # key -> params, batch_stats
    init: Callable[[Array], tuple[Tree, Tree]]
    # (params, batch_stats, images, given, train, watched) -> logits, batch_stats, for `penalty`; what is not
    # watched shows the constraint units and latents alone
    forward: Callable[[Tree, Tree, Array, Given, bool, bool], tuple[Array, Tree, tuple[Seen, Array]]]
    # (what `forward` gave, carried) -> the penalty, the constraint's and the method's, and carried after it
    penalty: Callable[[tuple[Seen, Array], Tree], tuple[Array, Tree]]
    # what the constraint carries before the first step
    carried: Callable[[], Tree]
    # (params, batch_stats, carried) -> params with the gains that the constraint goes on with
    project_gains: Callable[[Tree, Tree, Tree], Tree]


def _image_keys(key: Array, count: int) -> Array:
    """Returns a random key for each of this device's images, [count], by their places in the global batch."""
    places = jax.lax.axis_index(AXIS) * count + jnp.arange(count)
    own = jax.random.fold_in(key, zlib.crc32(INPUT_GRADIENT.encode()))  # apart from those of layers
    return jax.vmap(jax.random.fold_in, (None, 0))(own, places)


def constrain(
    network: Network,
    method: Method,
    constraint: Constraint,
    shape: tuple[int, ...],
    twin: tuple[Network, Method] | None,
) -> Constrained:
    """Returns the functions of a network under a constraint.

    Args:
      network: to be trained.
      method: its own.
      constraint: made for it.
      shape: of an image, [h, w, c].
      twin: what the constraint compares with, if it does; its arrays come with each step, under LCR.

    Raises:
      ValueError: if the constraint can do nothing with the network or its twin.
    """
    collections = constraint.needs & COLLECTIONS.keys()

    def taught(teacher: Mapping[str, Tree], images: Array) -> tuple[Array, ...]:
        assert twin is not None
        _, collected = infer(*twin, teacher[LCR], images, (STAGES,))
        return jax.lax.stop_gradient(collected.more[STAGES])

    def shown(key: Array) -> Seen:
        image = jnp.zeros((1, *shape))
        _, collected = infer(network, method, network.init(key), image, collections)
        theirs = () if twin is None else taught({LCR: twin[0].init(key)}, image)
        return Seen(collected.units, collected.latents, jnp.zeros(()), teacher=theirs, **collected.more)

    learned: Mapping[str, Array] = {}
    if constraint.learned is not None:
        learned = constraint.learned(jax.eval_shape(shown, jax.random.key(0)))

    def init(key: Array) -> tuple[Tree, Tree]:
        params, batch_stats = network.init(key)
        return ({**params, LEARNED: learned} if learned else params), batch_stats

    def forward(
        params: Tree, batch_stats: Tree, images: Array, given: Given, train: bool, watched: bool
    ) -> tuple[Array, Tree, tuple[Seen, Array]]:
        more = collections if watched else ()

        def network_on(images: Array) -> tuple[Array, tuple[Tree, Collected]]:
            logits, *rest = network.forward(params, batch_stats, images, given.values, train, more)
            return logits, tuple(rest)

        shows: dict[str, Any] = {}
        if watched and INPUT_GRADIENT in constraint.needs:
            logits, pull, (new_stats, collected) = jax.vjp(network_on, images, has_aux=True)
            keys = _image_keys(given.values["key"], len(images))
            shows["input_gradient"] = InputGradient(lambda v: pull(v)[0], logits, keys)
        else:
            logits, (new_stats, collected) = network_on(images)
        shows |= collected.more
        if watched and constraint.second_pass:
            # Times 1, which the compiler does not know: it could make one pass of two of the same images.
            again = images * jnp.where(given.progress < 2, 1, 0).astype(images.dtype)
            _, new_stats, second = network.forward(params, new_stats, again, given.values, train, more)
            shows |= second.more
        if watched and "teacher" in constraint.needs:
            shows["teacher"] = taught(given.teacher, images)
        own = params.get(LEARNED, {})
        seen = Seen(collected.units, collected.latents, given.progress, learned=own, **shows)
        return logits, new_stats, (seen, collected.layer_loss)

    def penalty(collected: tuple[Seen, Array], carried: Tree) -> tuple[Array, Tree]:
        seen, layer_loss = collected
        if constraint.penalty is None:
            return layer_loss, carried
        own, carried = constraint.penalty(seen, carried)
        return own + layer_loss, carried

    def carried() -> Tree:
        arrays = jax.eval_shape(network.init, jax.random.key(0))
        kernels = jax.eval_shape(network.kernels, *arrays, final_schedule(method))
        return constraint.init({name: kernel.shape for name, kernel in kernels.items()})

    def project_gains(params: Tree, batch_stats: Tree, carried: Tree) -> Tree:
        if constraint.project_gains is None:
            return params
        now = (params, batch_stats, final_schedule(method))
        kernels = network.kernels(*now) if KERNELS in constraint.needs else {}
        return replace_gains(params, constraint.project_gains(After(network.units(*now), kernels), carried))

    return Constrained(init, forward, penalty, carried, project_gains)
