"""From a configuration to the network and the task of its training."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp

from bnnjax.config.resolved import ResolvedConfig
from bnnjax.constraints import make_constraint
from bnnjax.constraints.base import LATENTS, SIGNS
from bnnjax.constraints.objective import LCR, ConstrainedNetwork, constrain
from bnnjax.data import Dataset, steps_per_epoch
from bnnjax.methods import make_method
from bnnjax.methods.base import Method, stage_restarts
from bnnjax.models import make_model
from bnnjax.models.figures import Measure
from bnnjax.models.network import Network
from bnnjax.runs.learner import TARGETS, Classifier
from bnnjax.train.optimizer import learning_rate_schedule, make_optimizer
from bnnjax.train.step import Normalization, Task
from bnnjax.types import AXIS


class Setup(NamedTuple):
    """What a configuration means on a data set."""

    network: Network
    constrained: ConstrainedNetwork
    task: Task
    learning_rate: Callable[[int], Any]  # by step
    measure: Measure


def make_network(config: ResolvedConfig, dataset: Dataset) -> Network:
    """Returns the network of a configuration, for the images and classes of a data set.

    Raises:
      ValueError: if the method, its bits or the model are not defined, or if the images are too small.
    """
    method = make_method(config.method, config.wbits, config.abits)
    method = replace(method, native=config.kernels == "native")
    model = make_model(
        config.model,
        method,
        structure=config.structure,
        classes=len(dataset.class_names),
        axis_name=AXIS,
        remat=config.remat,
        pack_codes=config.pack_codes,
        radius_of=config.l1inf.radius_of if config.l1inf.form == "floor" else None,
        downsample=config.downsample,
        stem_blur=config.stem_blur,
    )
    height, width, channels = dataset.image_shape
    least = model.least_size
    if min(height, width) < least:
        raise ValueError(
            f"model {config.model} needs images of {least}x{least} or larger; "
            f"those of {dataset.name} are {height}x{width}"
        )
    return Network(model, method, (height, width, channels))


def normalization_of(config: ResolvedConfig, dataset: Dataset) -> Normalization:
    """Returns how a data set's images become the input of a configuration's network."""
    return Normalization(dataset.mean, dataset.std, jnp.dtype(config.precision))


def constrained_network(config: ResolvedConfig, network: Network, twin: Network | None) -> ConstrainedNetwork:
    """Returns the network under the configuration's constraint.

    Raises:
      ValueError: if the constraint can do nothing with the network or its twin.
    """
    constraint = make_constraint(config, network.chain)
    if LATENTS in constraint.needs and network.method.wbits == 32:
        raise ValueError(
            f"constraint {config.constraint} is about latent kernels, "
            f"of which method {network.method.name} at 32 bits has none"
        )
    if SIGNS in constraint.needs and not network.method.takes_signs_at_zero:
        raise ValueError(
            f"l1inf.form reach is about signs of activations at 0, "
            f"which method {network.method.name} at {network.method.abits} bits does not take"
        )
    return constrain(network, constraint, twin)


def learning_rates(config: ResolvedConfig, method: Method, steps: int) -> Callable[[int], Any]:
    """Returns the learning rate by step, for so many steps an epoch.

    Raises:
      ValueError: if the method has more stages than there are epochs, or if the warm-up is as long as one.
    """
    return learning_rate_schedule(
        config.peak_learning_rate,
        config.epochs * steps,
        round(config.warmup_epochs * steps),
        [epoch * steps for epoch in stage_restarts(method, config.epochs)],
        config.decay,
    )


def make_setup(
    config: ResolvedConfig, dataset: Dataset, teachers: Mapping[str, Network] = MappingProxyType({})
) -> Setup:
    """Returns network and task of a run, and its learning rate by step.

    Args:
      config: of the run.
      dataset: whose shape, classes, mean, deviation and augmentation are used.
      teachers: the network whose probabilities are the targets, TARGETS, without which the labels are; and
        the one that lcr compares with, LCR.  Each step gets their params and batch_stats, by the same names,
        in `Images.teacher`.

    Raises:
      ValueError: if the method, its bits or the network are not defined, if the constraint can do nothing
        with the network or its teacher, if an epoch has not one full batch, if the method has more stages
        than there are epochs, or if the warm-up is as long as a stage.
    """
    network = make_network(config, dataset)
    constrained = constrained_network(config, network, teachers.get(LCR))
    learner = Classifier(
        constrained=constrained,
        label_smoothing=config.label_smoothing,
        teacher=teachers.get(TARGETS),
        latent_clip=config.latent_clip,
    )
    steps = steps_per_epoch(len(dataset.train.labels), config.batch_size)
    learning_rate = learning_rates(config, network.method, steps)
    task = Task(
        learner=learner,
        optimizer=make_optimizer(
            config.optimizer, learning_rate, config.weight_decay, config.momentum, config.nesterov
        ),
        augmentation=dataset.augmentation,
        normalization=normalization_of(config, dataset),
        epochs=config.epochs,
        steps_per_epoch=steps,
        accumulate=config.accumulate,
    )
    return Setup(network, constrained, task, learning_rate, Measure(network))
