"""From a configuration to the functions that training is made from."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.config.training import Config
from bnnjax.constraints import make_constraint
from bnnjax.constraints.base import LATENTS
from bnnjax.constraints.objective import LCR, Given, constrain
from bnnjax.data import Dataset, steps_per_epoch
from bnnjax.methods import Method, make_method
from bnnjax.methods.base import stage_restarts
from bnnjax.models import make_model
from bnnjax.models.network import Network, final_schedule, infer, make_measure, make_network, project_latents
from bnnjax.nn.layers import remember_gradients
from bnnjax.train.optimizer import learning_rate_schedule, make_optimizer
from bnnjax.train.step import Moment, Task
from bnnjax.types import AXIS, Tree

TARGETS = "targets"  # the network whose probabilities are learned, among a step's teachers; and see LCR


class Setup(NamedTuple):
    """What a configuration means on a data set."""

    method: Method
    network: Network
    task: Task
    learning_rate: Callable[[int], Any]  # by step
    # (params, batch_stats, normalized images, teachers' arrays, carried) -> logits and the penalty of these
    # images, both at inference
    watch: Callable[[Tree, Tree, Array, Tree, Tree], tuple[Array, Array]]
    measure: Callable[[Tree, Tree], dict[str, float]]  # see `make_measure`


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
    model = make_model(
        config.model,
        method,
        structure=config.structure,
        classes=classes,
        axis_name=AXIS,
        remat=config.remat,
        pack_codes=config.pack_codes,
    )
    shape = dataset.train.images.shape[1:]
    network = make_network(model, method, shape)
    constraint = make_constraint(config, network.chain)
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

    twin = (teachers[LCR].network, teachers[LCR].method) if LCR in teachers else None
    constrained = constrain(network, method, constraint, shape, twin)

    def forward(
        params: Tree, batch_stats: Tree, images: Array, given: Given, train: bool
    ) -> tuple[Array, Tree, Any]:
        return constrained.forward(params, batch_stats, images, given, train, train)

    def watch(
        params: Tree, batch_stats: Tree, images: Array, teacher: Tree, carried: Tree
    ) -> tuple[Array, Array]:
        given = schedule(None)._replace(teacher=teacher)
        logits, _, seen = constrained.forward(params, batch_stats, images, given, False, True)
        return logits, constrained.penalty(seen, carried)[0]

    def after_update(params: Tree, batch_stats: Tree, gradients: Tree, carried: Tree) -> tuple[Tree, Tree]:
        if method.remember_gradient is not None:
            batch_stats = remember_gradients(batch_stats, gradients, method.remember_gradient)
        # What binarization asks of a latent kernel comes last: it holds whatever the constraint.
        for project in (constraint.project_latent, method.project_latent, clip_latent):
            if project is not None:
                params = project_latents(params, project)
        return constrained.project_gains(params, batch_stats, carried), batch_stats

    def targets(teacher: Mapping[str, Tree], images: Array) -> Array:
        of = teachers[TARGETS]
        return jax.nn.softmax(infer(of.network, of.method, teacher[TARGETS], images)[0])

    steps = steps_per_epoch(len(dataset.train.labels), config.batch_size)
    learning_rate = learning_rate_schedule(
        config.peak_learning_rate,
        config.epochs * steps,
        round(config.warmup_epochs * steps),
        [epoch * steps for epoch in stage_restarts(method, config.epochs)],
        config.decay,
    )
    task = Task(
        init=constrained.init,
        forward=forward,
        schedule=schedule,
        penalty=constrained.penalty,
        carried=constrained.carried,
        after_update=after_update,
        optimizer=make_optimizer(
            config.optimizer, learning_rate, config.weight_decay, config.momentum, config.nesterov
        ),
        augmentation=dataset.augmentation,
        mean=dataset.mean,
        std=dataset.std,
        dtype=jnp.dtype(config.precision),
        label_smoothing=config.label_smoothing,
        targets=targets if TARGETS in teachers else None,
        epochs=config.epochs,
        steps_per_epoch=steps,
        accumulate=config.accumulate,
    )
    return Setup(method, network, task, learning_rate, watch, make_measure(network, method))
