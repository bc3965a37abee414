"""A network under a constraint: the forward pass with the penalty, and the projections."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.constraints import After, Constraint, Seen
from bnnjax.constraints.base import INPUT_GRADIENT, InputGradient
from bnnjax.methods import Context, Training
from bnnjax.models.network import COLLECTIONS, Network
from bnnjax.nn.units import KERNELS, STAGES, replace_gains
from bnnjax.runtime.keys import named_key
from bnnjax.train.learner import Moment, Pass
from bnnjax.types import AXIS, Tree

LCR = "lcr"  # key, among a step's teachers, of the network that lcr compares with
LEARNED = "learned"  # key of the constraints' own parameters, which have no weight decay


def without_learned(params: Tree) -> Tree:
    """Returns the parameters of the network itself."""
    return {name: value for name, value in params.items() if name != LEARNED}


@dataclass(frozen=True, eq=False)  # as Network
class ConstrainedNetwork:
    """A network with the penalty and the projections of a constraint.

    Attributes:
      network: the network to train.
      constraint: made for it.
      twin: the network that the constraint compares with, if any; each step gets its arrays.
      learned: initial values of the arrays that the constraint trains.
    """

    network: Network
    constraint: Constraint
    twin: Network | None = None
    learned: Mapping[str, Array] = field(default_factory=dict)

    def init(self, key: Array) -> tuple[Tree, Tree]:
        """Returns params and batch_stats with random weights."""
        params, batch_stats = self.network.init(key)
        params = self.begin(params, batch_stats)
        return ({**params, LEARNED: self.learned} if self.learned else params), batch_stats

    def begin(self, params: Tree, batch_stats: Tree) -> Tree:
        """Returns params with the batch norm gains that the constraint begins with."""
        if self.constraint.first_gains is None:
            return params
        units = jax.jit(self.network.units)(params, batch_stats)
        return replace_gains(params, self.constraint.first_gains(units, self._shapes(params, batch_stats)))

    def carried(self) -> Tree:
        """Returns the constraint's state before the first step."""
        return self.constraint.init(self._shapes(*jax.eval_shape(self.network.init, jax.random.key(0))))

    def _shapes(self, params: Tree, batch_stats: Tree) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each unit's kernel."""
        kernels = jax.eval_shape(self.network.kernels, params, batch_stats)
        return {name: kernel.shape for name, kernel in kernels.items()}

    def forward(
        self,
        params: Tree,
        batch_stats: Tree,
        images: Array,
        moment: Moment | None,
        carried: Tree,
        teacher: Tree,
    ) -> tuple[Array, Pass]:
        """Returns logits [batch, classes], and the rest of the pass with the penalty.

        Args:
          params: of the network, and those that the constraint trains.
          batch_stats: of the network.
          images: normalized, [batch, h, w, c].
          moment: the step of training; None: as at inference.
          carried: the constraint's state.
          teacher: the twin's params and batch_stats under LCR, if there is a twin.
        """
        context, train = self._context(moment), moment is not None
        run = partial(self.network.apply, params, context=context, train=train, more=self._collections)
        shown: dict[str, Any] = {}
        if INPUT_GRADIENT in self.constraint.needs:
            logits, pull, (batch_stats, collected) = jax.vjp(
                lambda images: _with_aux(*run(batch_stats, images)), images, has_aux=True
            )
            keys = _image_keys(jax.random.key(0) if moment is None else moment.key, len(images))
            shown["input_gradient"] = InputGradient(lambda vectors: pull(vectors)[0], logits, keys)
        else:
            logits, batch_stats, collected = run(batch_stats, images)
        shown |= collected.more
        progress = jnp.float32(1) if moment is None else moment.progress
        if self.constraint.second_pass:
            # Times 1, unknown to the compiler, which could otherwise merge two passes over equal images.
            again = images * jnp.where(progress < 2, 1, 0).astype(images.dtype)
            _, batch_stats, second = run(batch_stats, again)
            shown |= second.more
        if self.twin is not None:
            shown["teacher"] = _stages_of(self.twin, teacher[LCR], images)
        seen = Seen(collected.units, collected.latents, progress, learned=params.get(LEARNED, {}), **shown)
        penalty = collected.layer_loss
        if self.constraint.penalty is not None:
            own, carried = self.constraint.penalty(seen, carried)
            penalty += own
        return logits, Pass(batch_stats, penalty, carried)

    def project_gains(self, params: Tree, batch_stats: Tree, carried: Tree) -> Tree:
        """Returns params with the batch norm gains projected by the constraint."""
        if self.constraint.project_gains is None:
            return params
        kernels = self.network.kernels(params, batch_stats) if KERNELS in self.constraint.needs else {}
        after = After(self.network.units(params, batch_stats), kernels)
        return replace_gains(params, self.constraint.project_gains(after, carried))

    @property
    def _collections(self) -> frozenset[str]:
        return self.constraint.needs & COLLECTIONS.keys()

    def _context(self, moment: Moment | None) -> Context:
        if moment is None:
            return self.network.context()
        training = Training(moment.key, moment.epoch_begins)
        return self.network.context(moment.progress)._replace(training=training)

    def shown(self, key: Array) -> Seen:
        """Returns what the constraint sees for a blank image and random weights, for its shapes."""
        image = jnp.zeros((1, *self.network.image_shape))
        _, collected = self.network.infer(*self.network.init(key), image, self._collections)
        theirs = () if self.twin is None else _stages_of(self.twin, self.twin.init(key), image)
        return Seen(collected.units, collected.latents, jnp.zeros(()), teacher=theirs, **collected.more)


def constrain(network: Network, constraint: Constraint, twin: Network | None = None) -> ConstrainedNetwork:
    """Returns a network under a constraint; arguments as the attributes of `ConstrainedNetwork`.

    Raises:
      ValueError: if the constraint does not apply to the network or its twin.
    """
    constrained = ConstrainedNetwork(network, constraint, twin)
    if constraint.validate is None and constraint.learned is None:
        return constrained
    shapes = jax.eval_shape(constrained.shown, jax.random.key(0))
    if constraint.validate is not None:
        constraint.validate(shapes)
    if constraint.learned is None:
        return constrained
    return replace(constrained, learned=constraint.learned(shapes))


def _stages_of(network: Network, arrays: tuple[Tree, Tree], images: Array) -> tuple[Array, ...]:
    """Returns what comes out of each stage at inference, [batch, h, w, c], without a gradient."""
    _, collected = network.infer(*arrays, images, (STAGES,))
    return jax.lax.stop_gradient(collected.more[STAGES])


def _with_aux(logits: Array, *rest: Any) -> tuple[Array, tuple[Any, ...]]:
    return logits, rest


def _image_keys(key: Array, count: int) -> Array:
    """Returns a random key for each of this device's images, [count], by their places in the global batch."""
    places = jax.lax.axis_index(AXIS) * count + jnp.arange(count)
    own = named_key(key, INPUT_GRADIENT)  # independent of the layers' keys
    return jax.vmap(jax.random.fold_in, (None, 0))(own, places)
