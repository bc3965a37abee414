"""A model as pure functions of its arrays."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import Chain, Units
from bnnjax.bounds.lipschitz import network_log_bound, unit_table, units_off
from bnnjax.methods import Method, Values
from bnnjax.models import Model
from bnnjax.nn.layers import ACTIVATIONS, INPUTS, LOSSES, PREPARED
from bnnjax.nn.units import KERNELS, STAGES, UNITS, by_unit, by_unit_of_layer, in_order
from bnnjax.train.parallel import once_options
from bnnjax.types import Tree

# The collections that `Network.forward` can be asked for, and how each is read.
COLLECTIONS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    KERNELS: by_unit,
    ACTIVATIONS: by_unit_of_layer,
    INPUTS: by_unit_of_layer,
    STAGES: in_order,
}


class Collected(NamedTuple):
    """What a forward pass leaves beside its logits."""

    units: Units
    layer_loss: Array  # [], the mean of what the method's layers add to the loss
    latents: Mapping[str, Array]  # latent kernels by unit
    more: Mapping[str, Any]  # of COLLECTIONS those that were asked for


class Network(NamedTuple):
    """A model as pure functions of its parameters and batch statistics."""

    chain: Chain
    # key -> params, batch_stats
    init: Callable[[Array], tuple[Tree, Tree]]
    # (key, params, batch_stats) -> params, batch_stats, with what is missing initialized
    complete: Callable[[Array, Tree, Tree], tuple[Tree, Tree]]
    # (params, batch_stats, images, schedule) -> params, with latent kernels as the method prepares them
    prepare: Callable[[Tree, Tree, Array, Values], Tree]
    # (params, batch_stats, images, schedule, train, more) -> logits, batch_stats, collected
    forward: Callable[[Tree, Tree, Array, Values, bool, Iterable[str]], tuple[Array, Tree, Collected]]
    # (params, batch_stats, schedule) -> units at inference
    units: Callable[[Tree, Tree, Values], Units]
    # (params, batch_stats, schedule) -> kernels with their batch norm folded in, by unit
    kernels: Callable[[Tree, Tree, Values], dict[str, Array]]


def final_schedule(method: Method) -> Values:
    """Returns the values of a method's schedule with which its networks are used, once trained."""
    return method.schedule(jnp.float32(1))


def infer(
    network: Network, method: Method, arrays: tuple[Tree, Tree], images: Array, more: Iterable[str] = ()
) -> tuple[Array, Collected]:
    """Returns logits and what is collected of a network at inference, as it is used once trained.

    Args:
      network: as a function.
      method: its own.
      arrays: params and batch_stats.
      images: normalized, [batch, h, w, c].
      more: names in COLLECTIONS.
    """
    logits, _, collected = network.forward(*arrays, images, final_schedule(method), False, more)
    return logits, collected


def project_latents(params: Tree, project: Callable[[Array], Array]) -> Tree:
    """Returns params with `project` applied to every latent kernel."""

    def visit(path: tuple[Any, ...], leaf: Array) -> Array:
        return project(leaf) if path[-1].key == "latent" else leaf

    return jax.tree_util.tree_map_with_path(visit, params)


def latents_by_unit(params: Tree) -> dict[str, Array]:
    """Returns the latent kernels by the names of their units."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(key.key for key in path[:-2]): leaf for path, leaf in leaves if path[-1].key == "latent"}


def replaced(tree: Tree, new: Tree) -> Tree:
    """Returns the nested dicts of `tree` with the leaves of `new` in the place of their own."""
    if not isinstance(new, Mapping):
        return new
    return {**tree, **{name: replaced(tree[name], value) for name, value in new.items()}}


def make_network(model: Model, method: Method, image_shape: tuple[int, int, int]) -> Network:
    """Returns the pure functions of a model.

    Args:
      model: made by `make_model`.
      method: the one it was made with.
      image_shape: (h, w, c).
    """
    blank = jnp.zeros((1, *image_shape))

    def projected(params: Tree) -> Tree:
        return params if method.project_latent is None else project_latents(params, method.project_latent)

    def init(key: Array) -> tuple[Tree, Tree]:
        variables = model.init(key, blank, final_schedule(method), False)
        return projected(variables["params"]), variables["batch_stats"]

    def complete(key: Array, params: Tree, batch_stats: Tree) -> tuple[Tree, Tree]:
        variables = {"params": projected(params), "batch_stats": batch_stats}
        _, filled = model.apply(
            variables,
            blank,
            final_schedule(method),
            False,
            rngs={"params": key},
            mutable=["params", "batch_stats"],
        )
        return filled["params"], filled["batch_stats"]

    def prepare(params: Tree, batch_stats: Tree, images: Array, schedule: Values) -> Tree:
        # On one device, so that batch norms average over nothing else.
        alone = model.clone(axis_name=None)
        variables = {"params": params, "batch_stats": batch_stats}
        _, filled = alone.apply(variables, images, schedule, True, mutable=["batch_stats", PREPARED])
        return replaced(params, filled.get(PREPARED, {}))

    def forward(
        params: Tree,
        batch_stats: Tree,
        images: Array,
        schedule: Values,
        train: bool,
        more: Iterable[str] = (),
    ) -> tuple[Array, Tree, Collected]:
        variables = {"params": params, "batch_stats": batch_stats}
        mutable = ["batch_stats", UNITS, LOSSES, *more]
        logits, filled = model.apply(variables, images, schedule, train, mutable=mutable)
        losses = jax.tree.leaves(filled.get(LOSSES, {}))
        layer_loss = jnp.mean(jnp.stack(losses)) if losses else jnp.zeros(())
        collected = Collected(
            by_unit(filled[UNITS]),
            layer_loss,
            latents_by_unit(params),
            {name: COLLECTIONS[name](filled.get(name, {})) for name in more},
        )
        return logits, filled["batch_stats"], collected

    def collect(collection: str) -> Callable[[Tree, Tree, Values], dict[str, Any]]:
        # The logits of the blank image are not used, so compilation drops every convolution.
        def read(params: Tree, batch_stats: Tree, schedule: Values) -> dict[str, Any]:
            variables = {"params": params, "batch_stats": batch_stats}
            return by_unit(
                model.apply(variables, blank, schedule, False, mutable=[collection])[1][collection]
            )

        return read

    return Network(model.chain, init, complete, prepare, forward, collect(UNITS), collect(KERNELS))


def tabulate_units(network: Network, method: Method, params: Tree, batch_stats: Tree) -> list[dict[str, Any]]:
    """Returns the `unit_table` of a trained network."""
    kernels = jax.jit(network.kernels, compiler_options=once_options())(
        params, batch_stats, final_schedule(method)
    )
    return unit_table(network.chain, jax.device_get(kernels), latents_by_unit(params).__contains__)


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
