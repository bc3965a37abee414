"""Full precision: the network that binarized ones are compared with."""

import jax

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Method, check_bits, identity, keep


def fp(wbits: int = 32, abits: int = 32) -> Method:
    """Returns the full-precision method: weights unquantized, ReLU.

    Raises:
      ValueError: if the bits are not 32/32.
    """
    check_bits("fp", wbits, abits, [(32, 32)])
    return Method(
        name="fp",
        wbits=32,
        abits=32,
        quantize_weight=keep,
        quantize_activation=keep,
        relaxed_activation=identity,
        nonlinearity=jax.nn.relu,
        recipe=Recipe(epochs=200),
        source="He et al. 2016, arXiv 1512.03385",
    )
