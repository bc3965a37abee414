"""BWN: XNOR-Net's weights with activations in full precision."""

from dataclasses import replace

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Method, check_bits
from bnnjax.methods.xnor import xnor


def bwn(wbits: int = 1, abits: int = 32) -> Method:
    """Returns BWN: What_o = a_o sign(W_o), a_o = mean |W_o|, differentiated as a product; x as it is, after a
    ReLU.

    XNOR-Net at 1/32 bits, under the name that its paper gives it.

    Raises:
      ValueError: if the bits are not 1/32.
    """
    check_bits("bwn", wbits, abits, [(1, 32)])
    return replace(
        xnor(1, 32),
        name="bwn",
        # On ImageNet; none is published for CIFAR-10.
        recipe=Recipe(learning_rate=0.01, weight_decay=5e-4, epochs=55),
    )
