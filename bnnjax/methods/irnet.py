"""IR-Net: balanced weights, power-of-two scales, the error decay estimator."""

import jax.numpy as jnp
from jax import Array

from bnnjax.methods.base import Method, Quantized, Values, check_bits, identity, keep
from bnnjax.ops.scale import mean_abs, power_of_two, standardize
from bnnjax.ops.sign import hardtanh, sign_ede

LOG_T_MIN, LOG_T_MAX = -3.0, 1.0  # ResNet-20's range in the official code


def _weight(kernel: Array, values: Values) -> Quantized:
    balanced = standardize(kernel)
    return Quantized(sign_ede(balanced, values["k"], values["t"]), power_of_two(mean_abs(balanced)))


def _activation(x: Array, values: Values) -> Quantized:
    return Quantized(sign_ede(x, values["k"], values["t"]))


def ede_schedule(progress: Array) -> Values:
    """Returns t = 10^(-3 + 4 progress) and k = max(1/t, 1): from nearly the identity to nearly the sign.

    Args:
      progress: [], epoch / epochs.
    """
    t = 10.0 ** (LOG_T_MIN + (LOG_T_MAX - LOG_T_MIN) * progress)
    return {"k": jnp.maximum(1 / t, 1.0), "t": t}


def irnet(wbits: int = 1, abits: int = 1) -> Method:
    """Returns IR-Net: What_o = 2^s_o sign(Wb_o), Wb_o = (W_o - mean W_o) / std W_o,
    s_o = round(log2 mean |Wb_o|) a constant; x -> sign(x); both trained through k tanh(t .), `ede_schedule`.

    Raises:
      ValueError: if the bits are not 1/1 or 1/32.
    """
    check_bits("irnet", wbits, abits, [(1, 1), (1, 32)])
    binary = abits == 1
    return Method(
        name="irnet",
        wbits=1,
        abits=abits,
        quantize_weight=_weight,
        quantize_activation=_activation if binary else keep,
        relaxed_activation=hardtanh if binary else identity,
        schedule=ede_schedule,
        source="Qin et al. 2020, arXiv 1909.10788",
    )
