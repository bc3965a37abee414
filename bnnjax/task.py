"""From a configuration to the functions that training is made from."""

import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.config import Config
from bnnjax.constraints import After, Seen, make_constraint
from bnnjax.constraints.base import INPUT_GRADIENT, LATENTS, InputGradient
from bnnjax.data import Dataset, steps_per_epoch
from bnnjax.methods import Method, Values, make_method
from bnnjax.methods.base import stage_restarts
from bnnjax.models import make_model
from bnnjax.network import COLLECTIONS, Collected, Network, final_schedule, make_network, project_latents
from bnnjax.nn.layers import remember_gradients
from bnnjax.nn.units import KERNELS, STAGES, replace_gains
from bnnjax.train.optimizer import learning_rate_schedule, make_optimizer
from bnnjax.train.state import Tree
from bnnjax.train.step import AXIS, Moment, Task

# The other networks that a run may learn from, by what they are for: the targets, and the constraint lcr.
TARGETS, LCR = "targets", "lcr"
LEARNED = "learned"  # where constraints have theirs among the parameters; none below that name decays


class Given(NamedTuple):
    """What a forward pass is given of the moment it is in."""

    values: Values  # the method's schedule, and in training key and epoch_begins
    progress: Array  # epoch / epochs, [] float32; 1 at inference
    teacher: Tree = ()  # in training as in `Images`


class Setup(NamedTuple):
    """What a configuration means on a data set."""

    method: Method
    network: Network
    task: Task
    learning_rate: Callable[[int], Any]  # by step


def image_keys(key: Array, count: int) -> Array:
    """Returns a random key for each of this device's images, [count], by their places in the global batch."""
    places = jax.lax.axis_index(AXIS) * count + jnp.arange(count)
    own = jax.random.fold_in(key, zlib.crc32(INPUT_GRADIENT.encode()))  # apart from those of layers
    return jax.vmap(jax.random.fold_in, (None, 0))(own, places)


def make_setup(
    config: Config, dataset: Dataset, teachers: Mapping[str, Setup] = MappingProxyType({})
) -> Setup:
    """Returns method, network and task of a run, and its learning rate by step.

    Args:
      config: with its recipe filled in.
      dataset: whose shape, classes, mean, deviation and augmentation are used.
      teachers: the network whose probabilities are the targets, TARGETS, without which the labels are; and
        the one that lcr compares with, LCR.  Each step is given their params and batch_stats, by the same
        names, in `Images.teacher`.

    Raises:
      ValueError: if the method, its bits or the network are not defined, if the constraint can do nothing
        with the network or its teacher, if an epoch has not one full batch, if the method has more stages
        than there are epochs, or if the warm-up is as long as a stage.
    """
    assert config.batch_size is not None
    assert config.epochs is not None
    assert config.learning_rate is not None
    assert config.optimizer is not None
    assert config.weight_decay is not None
    method = make_method(config.method, config.wbits, config.abits)
    classes = len(dataset.class_names)
    model = make_model(config.model, method, structure=config.structure, classes=classes, axis_name=AXIS)
    network = make_network(model, method, dataset.train.images.shape[1:])
    constraint = make_constraint(config, network.chain)
    collections = constraint.needs & COLLECTIONS.keys()
    if LATENTS in constraint.needs and method.wbits == 32:
        raise ValueError(
            f"constraint {config.constraint} is about latent kernels, "
            f"of which method {method.name} at 32 bits has none"
        )
    limit = config.latent_clip
    clip_latent = partial(jnp.clip, min=-limit, max=limit) if limit else None

    def schedule(moment: Moment | None) -> Given:
        if moment is None:
            return Given(final_schedule(method), jnp.float32(1))
        values = method.schedule(moment.progress)
        return Given(
            {**values, "key": moment.key, "epoch_begins": moment.epoch_begins},
            moment.progress,
            moment.teacher,
        )

    def infer(
        name: str, teacher: Mapping[str, Tree], images: Array, more: Iterable[str]
    ) -> tuple[Array, Collected]:
        of = teachers[name]
        params, batch_stats = teacher[name]
        logits, _, collected = of.network.forward(
            params, batch_stats, images, final_schedule(of.method), False, more
        )
        return logits, collected

    def taught(teacher: Mapping[str, Tree], images: Array) -> tuple[Array, ...]:
        collected = infer(LCR, teacher, images, (STAGES,))[1]
        return jax.lax.stop_gradient(collected.more[STAGES])

    def shown(key: Array) -> Seen:
        image = jnp.zeros((1, *dataset.train.images.shape[1:]))
        params, batch_stats = network.init(key)
        _, _, collected = network.forward(
            params, batch_stats, image, final_schedule(method), False, collections
        )
        theirs = taught({LCR: teachers[LCR].network.init(key)}, image) if LCR in teachers else ()
        return Seen(collected.units, collected.latents, jnp.zeros(()), teacher=theirs, **collected.more)

    learned: Mapping[str, Array] = {}
    if constraint.learned is not None:
        learned = constraint.learned(jax.eval_shape(shown, jax.random.key(0)))

    def init(key: Array) -> tuple[Tree, Tree]:
        params, batch_stats = network.init(key)
        return ({**params, LEARNED: learned} if learned else params), batch_stats

    def forward(
        params: Tree, batch_stats: Tree, images: Array, given: Given, train: bool
    ) -> tuple[Array, Tree, tuple[Seen, Array]]:
        more = collections if train else ()

        def network_on(images: Array) -> tuple[Array, tuple[Tree, Collected]]:
            logits, *rest = network.forward(params, batch_stats, images, given.values, train, more)
            return logits, tuple(rest)

        shows: dict[str, Any] = {}
        if train and INPUT_GRADIENT in constraint.needs:
            logits, pull, (new_stats, collected) = jax.vjp(network_on, images, has_aux=True)
            keys = image_keys(given.values["key"], len(images))
            shows["input_gradient"] = InputGradient(lambda v: pull(v)[0], logits, keys)
        else:
            logits, (new_stats, collected) = network_on(images)
        shows |= collected.more
        if train and constraint.second_pass:
            # Times 1, which the compiler does not know: it could make one pass of two of the same images.
            again = images * jnp.where(given.progress < 2, 1, 0).astype(images.dtype)
            _, new_stats, second = network.forward(params, new_stats, again, given.values, True, more)
            shows |= second.more
        if train and "teacher" in constraint.needs:
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

    def after_update(params: Tree, batch_stats: Tree, gradients: Tree, carried: Tree) -> tuple[Tree, Tree]:
        if method.remember_gradient is not None:
            batch_stats = remember_gradients(batch_stats, gradients, method.remember_gradient)
        # What binarization asks of a latent kernel comes last: it holds whatever the constraint.
        for project in (constraint.project_latent, method.project_latent, clip_latent):
            if project is not None:
                params = project_latents(params, project)
        if constraint.project_gains is not None:
            now = (params, batch_stats, final_schedule(method))
            kernels = network.kernels(*now) if KERNELS in constraint.needs else {}
            gains = constraint.project_gains(After(network.units(*now), kernels), carried)
            params = replace_gains(params, gains)
        return params, batch_stats

    def targets(teacher: Mapping[str, Tree], images: Array) -> Array:
        return jax.nn.softmax(infer(TARGETS, teacher, images, ())[0])

    steps = steps_per_epoch(len(dataset.train.labels), config.batch_size)
    learning_rate = learning_rate_schedule(
        config.learning_rate,
        config.epochs * steps,
        round(config.warmup_epochs * steps),
        [epoch * steps for epoch in stage_restarts(method, config.epochs)],
    )
    task = Task(
        init=init,
        forward=forward,
        schedule=schedule,
        penalty=penalty,
        carried=carried,
        after_update=after_update,
        optimizer=make_optimizer(config.optimizer, learning_rate, config.weight_decay, config.momentum),
        augmentation=dataset.augmentation,
        mean=dataset.mean,
        std=dataset.std,
        dtype=jnp.dtype(config.precision),
        label_smoothing=config.label_smoothing,
        targets=targets if TARGETS in teachers else None,
        epochs=config.epochs,
        steps_per_epoch=steps,
    )
    return Setup(method, network, task, learning_rate)
