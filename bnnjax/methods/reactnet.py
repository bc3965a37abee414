"""ReActNet: signs and PReLUs with learned shifts per channel (RSign and RPReLU)."""

import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import (
    Context,
    LearnedActivation,
    Method,
    Quantized,
    Site,
    Values,
    check_bits,
    stage_at,
)
from bnnjax.methods.birealnet import scaled_sign
from bnnjax.ops.channelwise import channelwise
from bnnjax.ops.sign import hardtanh, sign_polynomial

STAGES = 2  # binary activations and real weights, then binary weights too


def weight_schedule(progress: Array) -> Values:
    """Returns whether weights are binary: 0 in the first half of training, 1 in the second.

    Args:
      progress: [], epoch / epochs; 1 at inference.
    """
    return {"binary": stage_at(progress, STAGES).astype(jnp.float32)}


def _weight(kernel: Array, context: Context) -> Quantized:
    binary, is_binary = scaled_sign(kernel, context), context.schedule["binary"] > 0
    return Quantized(
        jnp.where(is_binary, binary.codes, kernel), jnp.where(is_binary, binary.channel_scale, 1)
    )


def _shifted_sign(x: Array, learned: Values) -> Array:
    return sign_polynomial(x + learned["threshold"])


def _activation(x: Array, context: Context) -> Quantized:
    return Quantized(channelwise(_shifted_sign, x, {"threshold": context.learned["threshold"]}))


def _threshold(key: Array, site: Site) -> Array:
    return jnp.zeros(site.latent.shape[-2])


def _rprelu(x: Array, learned: Values) -> Array:
    shifted = x + learned["before"]
    return jnp.where(shifted > 0, shifted, learned["slope"] * shifted) + learned["after"]


def _lipschitz(learned: Values) -> Array:
    return jnp.maximum(jnp.abs(learned["slope"]), 1)


# y = u + m2 where u = x + m1 > 0, else s u + m2, in the place of each block's nonlinearity.
RPRELU = LearnedActivation(
    learned={"before": 0.0, "slope": 0.25, "after": 0.0}, apply=_rprelu, lipschitz=_lipschitz
)


def reactnet(wbits: int = 1, abits: int = 1) -> Method:
    """Returns ReActNet, with b, m1, m2 (from 0) and s (from 0.25) learned for each channel c:

        RSign   x -> sign(x + b_c), dy/dx = dy/db := max(2 - 2|x + b_c|, 0)
        RPReLU  y = u + m2_c where u = x + m1_c > 0, else s_c u + m2_c, after each sum of unit and shortcut
        What    Bi-Real Net's a_o sign(W_o), unscaled gradient 1[|W| <= 1]

    One run has two stages: real weights, then binary weights that start from them; the learning rate restarts
    in the second.  The best epoch is chosen among networks as deployed, with binary weights, so accuracies
    are low during the first stage.  The optimizer's moments are kept, where the authors start a second run.

    In the bound, RPReLU counts max_c max(1, |s_c|) and RSign's shift counts nothing: the clip that replaces
    sign(x + b_c) is clip(x, -1, 1) shifted by b_c.

    Its shortcut around every convolution is `--structure bireal`; that RPReLU follows the stem too is our
    choice.  The authors' weight decay is 1e-5 in the first stage and 0 in the second; the recipe has 0.
    Their learning rate decays linearly, ours by a cosine; they learn from a teacher's outputs.

    Raises:
      ValueError: if the bits are not 1/1.
    """
    check_bits("reactnet", wbits, abits, [(1, 1)])
    return Method(
        name="reactnet",
        wbits=1,
        abits=1,
        quantize_weight=_weight,
        quantize_activation=_activation,
        relaxed_activation=hardtanh,
        nonlinearity=RPRELU,
        schedule=weight_schedule,
        stages=STAGES,
        learned={"threshold": _threshold},
        recipe=Recipe(optimizer="adamw", learning_rate=2.5e-3, weight_decay=0.0, batch_size=512, epochs=256),
        source="Liu et al. 2020, arXiv 2003.03488 (trained on ImageNet; no CIFAR-10 recipe is published)",
    )
