"""IR-Net: balanced weights, power-of-two scales, the error decay estimator."""

from functools import partial

from jax import Array

from bnnjax.methods.base import Context, Method, Quantized, check_bits, identity, keep, sharpening, signs_of
from bnnjax.ops.scale import mean_abs, power_of_two, standardize
from bnnjax.ops.sign import hardtanh, sign_ede

LOG_T_FIRST, LOG_T_LAST = -3.0, 1.0  # ResNet-20's range in the official code


def _weight(kernel: Array, context: Context) -> Quantized:
    balanced = standardize(kernel)
    codes = sign_ede(balanced, context.schedule["k"], context.schedule["t"])
    return Quantized(codes, power_of_two(mean_abs(balanced)))


def _activation(x: Array, context: Context) -> Quantized:
    return signs_of(x, sign_ede(x, context.schedule["k"], context.schedule["t"]))


def irnet(wbits: int = 1, abits: int = 1) -> Method:
    """Returns IR-Net: What_o = 2^s_o sign(Wb_o), Wb_o = (W_o - mean W_o) / std W_o,
    s_o = round(log2 mean |Wb_o|) a constant; x -> sign(x); both trained through k tanh(t .), t from 0.001
    to 10 and k by `sharpening`.

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
        signs=True,
        relaxed_activation=hardtanh if binary else identity,
        schedule=partial(sharpening, first=LOG_T_FIRST, last=LOG_T_LAST),
        source="Qin et al. 2020, arXiv 1909.10788",
    )
