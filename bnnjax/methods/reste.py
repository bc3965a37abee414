"""ReSTE: signs trained through a power function that sharpens during training."""

import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Context, Method, Quantized, Values, check_bits, identity, signs_of
from bnnjax.ops.sign import hardtanh, surrogate

LARGEST = 1.5  # t: the gradient is 0 beyond
SMALLEST = 0.1  # m: below, the slope of the chord, since that of the power is unbounded
LAST_ORDER = 3.0


@surrogate
def sign_power(x: Array, order: Array) -> Array:
    """sign(x), trained through sign(x) |x|^(1/o):

        dy/dx := m^(1/o) / m                for |x| <= m = 0.1
                 (1/o) |x|^((1 - o) / o)    for m < |x| <= t = 1.5
                 0                          beyond, and where x is NaN

    Args:
      x: [...], any float dtype.
      order: o, [] float32, at least 1.
    """
    size = jnp.abs(x)
    power = jnp.clip(size, SMALLEST, LARGEST) ** (1 / order - 1) / order
    chord = jnp.float32(SMALLEST) ** (1 / order - 1)
    return jnp.where(size <= SMALLEST, chord, jnp.where(size <= LARGEST, power, 0))


def _weight(kernel: Array, context: Context) -> Quantized:
    return Quantized(sign_power(kernel, context.schedule["order"]), jnp.mean(jnp.abs(kernel)))


def _activation(x: Array, context: Context) -> Quantized:
    return signs_of(x, sign_power(x, context.schedule["order"]))


def order_schedule(progress: Array) -> Values:
    """Returns o = 1 + 2 (1 - cos(progress pi / 2)): from the identity, 1, to the cube root, 3.

    Args:
      progress: [], epoch / epochs.
    """
    return {"order": 1 + (LAST_ORDER - 1) * (1 - jnp.cos(progress * (jnp.pi / 2)))}


def reste(wbits: int = 1, abits: int = 1) -> Method:
    """Returns ReSTE: What = a sign(W), a = mean |W| of the whole layer, differentiated; x -> sign(x); both
    trained through sign(z) |z|^(1/o), `sign_power`, with o from `order_schedule`.

    As in the official code, without its ReLU before each batch norm.  There is no nonlinearity between a
    batch norm and the next sign.

    Raises:
      ValueError: if the bits are not 1/1.
    """
    check_bits("reste", wbits, abits, [(1, 1)])
    return Method(
        name="reste",
        wbits=1,
        abits=1,
        quantize_weight=_weight,
        quantize_activation=_activation,
        signs=True,
        relaxed_activation=hardtanh,
        nonlinearity=identity,
        schedule=order_schedule,
        recipe=Recipe(learning_rate=0.1, weight_decay=1e-4, batch_size=256, epochs=1000),
        source="Wu et al. 2023, arXiv 2308.06689",
    )
