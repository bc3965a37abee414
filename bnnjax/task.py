"""From a configuration to the functions that training is made from."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds import Chain, Units, network_log_bound, units_off
from bnnjax.config import Config
from bnnjax.constraints import make_constraint
from bnnjax.data import Dataset, steps_per_epoch
from bnnjax.methods import Method, Values, make_method
from bnnjax.models import Model, make_model
from bnnjax.nn.layers import LOSSES, remember_gradients
from bnnjax.nn.units import KERNELS, UNITS, by_unit, replace_gains
from bnnjax.train.optimizer import learning_rate_schedule, make_optimizer
from bnnjax.train.state import Tree
from bnnjax.train.step import AXIS, Moment, Task


class Collected(NamedTuple):
    """What a forward pass leaves beside its logits."""

    units: Units
    layer_loss: Array  # [], the mean of what the method's layers add to the loss


class Network(NamedTuple):
    """A model as pure functions of its parameters and batch statistics."""

    chain: Chain
    # key -> params, batch_stats
    init: Callable[[Array], tuple[Tree, Tree]]
    # (params, batch_stats, images, schedule, train) -> logits, batch_stats, collected
    forward: Callable[[Tree, Tree, Array, Values, bool], tuple[Array, Tree, Collected]]
    # (params, batch_stats, schedule) -> units at inference
    units: Callable[[Tree, Tree, Values], Units]
    # (params, batch_stats, schedule) -> kernels with their batch norm folded in, by unit
    kernels: Callable[[Tree, Tree, Values], dict[str, Array]]


def final_schedule(method: Method) -> Values:
    """Returns the values of a method's schedule with which its networks are used, once trained."""
    return method.schedule(jnp.float32(1))


def project_latents(params: Tree, project: Callable[[Array], Array]) -> Tree:
    """Returns params with `project` applied to every latent kernel."""

    def visit(path: tuple[Any, ...], leaf: Array) -> Array:
        return project(leaf) if path[-1].key == "latent" else leaf

    return jax.tree_util.tree_map_with_path(visit, params)


def make_network(model: Model, method: Method, image_shape: tuple[int, int, int]) -> Network:
    """Returns the pure functions of a model.

    Args:
      model: made by `make_model`.
      method: the one it was made with.
      image_shape: (h, w, c).
    """
    blank = jnp.zeros((1, *image_shape))

    def init(key: Array) -> tuple[Tree, Tree]:
        variables = model.init(key, blank, final_schedule(method), False)
        params = variables["params"]
        if method.project_latent is not None:
            params = project_latents(params, method.project_latent)
        return params, variables["batch_stats"]

    def forward(
        params: Tree, batch_stats: Tree, images: Array, schedule: Values, train: bool
    ) -> tuple[Array, Tree, Collected]:
        variables = {"params": params, "batch_stats": batch_stats}
        logits, filled = model.apply(
            variables, images, schedule, train, mutable=["batch_stats", UNITS, LOSSES]
        )
        losses = jax.tree.leaves(filled.get(LOSSES, {}))
        layer_loss = jnp.mean(jnp.stack(losses)) if losses else jnp.zeros(())
        return logits, filled["batch_stats"], Collected(by_unit(filled[UNITS]), layer_loss)

    def collect(collection: str) -> Callable[[Tree, Tree, Values], dict[str, Any]]:
        # The logits of the blank image are not used, so compilation drops every convolution.
        def read(params: Tree, batch_stats: Tree, schedule: Values) -> dict[str, Any]:
            variables = {"params": params, "batch_stats": batch_stats}
            return by_unit(
                model.apply(variables, blank, schedule, False, mutable=[collection])[1][collection]
            )

        return read

    return Network(model.chain, init, forward, collect(UNITS), collect(KERNELS))


def make_measure(network: Network, method: Method) -> Callable[[Tree, Tree], dict[str, float]]:
    """Returns (params, batch_stats) -> `log_lipschitz_bound` in nats and the number of `units_off`."""

    @jax.jit
    def figures(params: Tree, batch_stats: Tree) -> tuple[Array, Array]:
        units = network.units(params, batch_stats, final_schedule(method))
        return network_log_bound(network.chain, units), units_off(units)

    def measure(params: Tree, batch_stats: Tree) -> dict[str, float]:
        bound, off = figures(params, batch_stats)
        return {"log_lipschitz_bound": float(bound), "units_off": int(off)}

    return measure


class Setup(NamedTuple):
    """What a configuration means on a data set."""

    method: Method
    network: Network
    task: Task
    learning_rate: Callable[[int], Any]  # by step


def make_setup(config: Config, dataset: Dataset) -> Setup:
    """Returns method, network and task of a run, and its learning rate by step.

    Args:
      config: with its recipe filled in.
      dataset: whose shape, classes, mean, deviation and augmentation are used.

    Raises:
      ValueError: if the method, its bits or the network are not defined, if an epoch has not one full batch,
        or if the warm-up is as long as the training.
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

    def schedule(moment: Moment | None) -> Values:
        if moment is None:
            return final_schedule(method)
        return {
            **method.schedule(moment.progress),
            "key": moment.key,
            "epoch_begins": moment.epoch_begins,
        }

    def penalty(collected: Collected) -> Array:
        own = jnp.zeros(()) if constraint.penalty is None else constraint.penalty(collected.units)
        return own + collected.layer_loss

    def after_update(params: Tree, batch_stats: Tree, gradients: Tree) -> tuple[Tree, Tree]:
        if method.remember_gradient is not None:
            batch_stats = remember_gradients(batch_stats, gradients, method.remember_gradient)
        if method.project_latent is not None:
            params = project_latents(params, method.project_latent)
        if config.latent_clip:
            limit = config.latent_clip
            params = project_latents(params, lambda latent: jnp.clip(latent, -limit, limit))
        if constraint.project_gains is not None:
            units = network.units(params, batch_stats, final_schedule(method))
            params = replace_gains(params, constraint.project_gains(units))
        return params, batch_stats

    steps = steps_per_epoch(len(dataset.train.labels), config.batch_size)
    learning_rate = learning_rate_schedule(
        config.learning_rate, config.epochs * steps, round(config.warmup_epochs * steps)
    )
    task = Task(
        init=network.init,
        forward=network.forward,
        schedule=schedule,
        penalty=penalty,
        after_update=after_update,
        optimizer=make_optimizer(config.optimizer, learning_rate, config.weight_decay, config.momentum),
        augmentation=dataset.augmentation,
        mean=dataset.mean,
        std=dataset.std,
        dtype=jnp.dtype(config.precision),
        label_smoothing=config.label_smoothing,
        epochs=config.epochs,
        steps_per_epoch=steps,
    )
    return Setup(method, network, task, learning_rate)
