"""A network: a model and its method as pure functions of parameters and batch statistics."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import Chain, Units
from bnnjax.methods import Context, Method
from bnnjax.models import Model
from bnnjax.nn.layers import ACTIVATIONS, INPUTS, LOSSES, PREPARED
from bnnjax.nn.units import KERNELS, SQUARES, STAGES, UNITS, by_unit, by_unit_of_layer, in_order
from bnnjax.types import Tree

# The collections that `Network.apply` can return on request, and how each is read.
COLLECTIONS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    KERNELS: by_unit,
    SQUARES: by_unit,
    ACTIVATIONS: by_unit_of_layer,
    INPUTS: by_unit_of_layer,
    STAGES: in_order,
}


class Collected(NamedTuple):
    """What a forward pass collects beside its logits."""

    units: Units
    layer_loss: Array  # [], the mean over layers of what the method adds to the loss
    latents: Mapping[str, Array]  # latent kernels by unit
    more: Mapping[str, Any]  # the requested ones of COLLECTIONS


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
    """Returns the nested dicts of `tree` with the leaves of `new` in place of theirs."""
    if not isinstance(new, Mapping):
        return new
    return {**tree, **{name: replaced(tree[name], value) for name, value in new.items()}}


@dataclass(frozen=True, eq=False)  # compared by identity, so that its methods can be jitted
class Network:
    """A model as pure functions of its arrays, params and batch_stats.

    Attributes:
      model: from `make_model`.
      method: the model's.
      image_shape: (h, w, c).
    """

    model: Model
    method: Method
    image_shape: tuple[int, ...]

    @property
    def chain(self) -> Chain:
        """The structure of the network for its bound."""
        return self.model.chain

    def with_method(self, method: Method) -> "Network":
        """Returns the network with another method in its layers, which trains the same arrays."""
        return replace(self, model=self.model.clone(method=method), method=method)

    def context(self, progress: Array | float = 1.0) -> Context:
        """Returns the layers' context at this share of training; by default that of a trained network."""
        return Context(self.method.schedule(jnp.float32(progress)))

    def init(self, key: Array) -> tuple[Tree, Tree]:
        """Returns params and batch_stats with random weights."""
        variables = self.model.init(key, self._blank(), self.context(), False)
        return self._projected(variables["params"]), variables["batch_stats"]

    def complete(self, key: Array, params: Tree, batch_stats: Tree) -> tuple[Tree, Tree]:
        """Returns params and batch_stats with missing arrays initialized."""
        variables = {"params": self._projected(params), "batch_stats": batch_stats}
        _, filled = self.model.apply(
            variables,
            self._blank(),
            self.context(),
            False,
            rngs={"params": key},
            mutable=["params", "batch_stats"],
        )
        return filled["params"], filled["batch_stats"]

    def prepare(self, params: Tree, batch_stats: Tree, images: Array) -> Tree:
        """Returns params with latent kernels as the method prepares them with some images before training."""
        # On one device, so that batch norms average over these images alone.
        alone = self.model.clone(axis_name=None)
        variables = {"params": params, "batch_stats": batch_stats}
        _, filled = alone.apply(variables, images, self.context(0.0), True, mutable=["batch_stats", PREPARED])
        return replaced(params, filled.get(PREPARED, {}))

    def apply(
        self,
        params: Tree,
        batch_stats: Tree,
        images: Array,
        context: Context,
        train: bool,
        more: Iterable[str] = (),
    ) -> tuple[Array, Tree, Collected]:
        """Returns logits [batch, classes], batch_stats after this pass, and what else it collects.

        Args:
          params: of the network.
          batch_stats: likewise.
          images: normalized, [batch, h, w, c].
          context: the schedule, and in training the step's key.
          train: whether batch norms use the batch's statistics and update the running ones.
          more: names in COLLECTIONS.
        """
        variables = {"params": params, "batch_stats": batch_stats}
        mutable = ["batch_stats", UNITS, LOSSES, *more]
        logits, filled = self.model.apply(variables, images, context, train, mutable=mutable)
        losses = jax.tree.leaves(filled.get(LOSSES, {}))
        layer_loss = jnp.mean(jnp.stack(losses)) if losses else jnp.zeros(())
        collected = Collected(
            by_unit(filled[UNITS]),
            layer_loss,
            latents_by_unit(params),
            {name: COLLECTIONS[name](filled.get(name, {})) for name in more},
        )
        return logits, filled["batch_stats"], collected

    def infer(
        self, params: Tree, batch_stats: Tree, images: Array, more: Iterable[str] = ()
    ) -> tuple[Array, Collected]:
        """Returns logits and what is collected at inference, as of a trained network."""
        logits, _, collected = self.apply(params, batch_stats, images, self.context(), False, more)
        return logits, collected

    def logits(self, params: Tree, batch_stats: Tree, images: Array) -> Array:
        """Returns the logits at inference, [batch, classes], of normalized images [batch, h, w, c]."""
        return self.infer(params, batch_stats, images)[0]

    def units(self, params: Tree, batch_stats: Tree) -> Units:
        """Returns the statistics of the units at inference, by their names."""
        return self._collect(UNITS, params, batch_stats)

    def kernels(self, params: Tree, batch_stats: Tree) -> dict[str, Array]:
        """Returns the kernels with their batch norm folded in, [..., o], by the names of their units."""
        return self._collect(KERNELS, params, batch_stats)

    def _collect(self, collection: str, params: Tree, batch_stats: Tree) -> dict[str, Any]:
        # The logits of the blank image are not used, so compilation drops every convolution.
        variables = {"params": params, "batch_stats": batch_stats}
        _, filled = self.model.apply(variables, self._blank(), self.context(), False, mutable=[collection])
        return by_unit(filled[collection])

    def _blank(self) -> Array:
        return jnp.zeros((1, *self.image_shape))

    def _projected(self, params: Tree) -> Tree:
        project = self.method.project_latent
        return params if project is None else project_latents(params, project)
