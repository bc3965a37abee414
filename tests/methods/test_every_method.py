"""What holds for every method at all its bits; a new method is tested here by existing.

Quantizers keep their surrogate gradients where the gradient by the input is differentiated once more.
"""

import dataclasses
from typing import Any, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of, nonlinearity_of

from bnnjax.config.names import MethodName
from bnnjax.methods import METHODS, Quantized, make_method

SHAPE = (3, 3, 4, 6)
NORMAL = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
KERNELS = {
    "normal": NORMAL,
    "small": NORMAL * np.float32(1e-3),
    "large": NORMAL * np.float32(100),
    "zero": np.zeros(SHAPE, np.float32),
    "minus zero": -np.zeros(SHAPE, np.float32),
    "constant": np.full(SHAPE, 0.1, np.float32),
    "one zero filter": NORMAL * (np.arange(6) != 2),
    "one constant filter": np.where(np.arange(6) == 2, np.float32(0.1), NORMAL),
    "on the kinks": np.sign(NORMAL),
}
UPSTREAM = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE), jnp.float32)
ACTIVATIONS = jnp.concatenate([jnp.linspace(-3, 3, 1537), jnp.array([-0.0, 1e30, -1e30, jnp.inf, -jnp.inf])])[
    :, None
]
FEW_BITS = [(None, None), (1, 1), (1, 32), (2, 2), (3, 3), (3, 4), (8, 8), (32, 1), (32, 32)]
X = jnp.asarray(np.random.default_rng(2).normal(size=(2, 3, 3, 4)), jnp.float32)
IMAGES = jnp.asarray(np.random.default_rng(2).normal(size=(2, 8, 8, 4)), jnp.float32)
LINE = jnp.linspace(-3, 3, 601)
UNEVEN = {
    "abcnet",
    "dsq",
    "lqnet",
}  # whose codes are the values themselves: their levels need not be evenly spaced
ROUNDS_UP = {"abcnet", "hwgq"}  # whose steps do not lie half way between their levels
PROJECTED = {"bnn", "xnor", "bwn", "lab", "rad"}


def defined(name, wbits, abits):
    try:
        return make_method(name, wbits, abits)
    except ValueError:
        return None


DEFINED = list(
    {
        (name, method.wbits, method.abits): method
        for name in METHODS
        for bits in FEW_BITS
        if (method := defined(name, *bits))
    }.values()
)


@pytest.fixture(scope="module", params=DEFINED, ids=lambda m: f"{m.name} {m.wbits}/{m.abits}")
def method(request):
    return request.param


class Found(NamedTuple):
    """Results of one compiled program for a method, by name in KERNELS if there are several."""

    trained: dict[str, tuple[Quantized, jax.Array, jax.Array]]  # codes and scale, value, gradient
    deployed: dict[str, Quantized]
    with_nan: jax.Array  # value of a kernel with NaN in one place
    activated: tuple[Quantized, jax.Array]  # of ACTIVATIONS at inference: codes and scale, gradient
    relaxed: jax.Array
    relaxed_method: jax.Array  # the relaxed method's activations
    halves: tuple[Quantized, jax.Array, jax.Array]  # of NaN and 0.5 in bfloat16
    lines: dict[str, jax.Array]  # the nonlinearity and the relaxed activation of LINE
    twice: dict[str, list[jax.Array]]  # gradients by the input: plain, and of the value beside its pull-back
    kept: tuple[dict[str, jax.Array], dict[str, jax.Array]]  # what a layer learns and what it carries along
    remembered: tuple[Any, Any]  # that after a step's forward and backward pass; None where nothing changes


def probe(method):
    """Returns all results that the tests of a method need."""
    one = context_of(method, NORMAL[:, :, :1])
    at_inference = context_of(method, NORMAL[:, :, :1], progress=1.0, training=False)
    nonlinearity = nonlinearity_of(method)

    def trained(kernel):
        context = context_of(method, kernel)
        result, pull = jax.vjp(lambda k: method.quantize_weight(k, context), kernel)
        upstream = jax.vjp(lambda r: r.value, result)[1](UPSTREAM)[0]
        return result, result.value, pull(upstream)[0]

    def deployed(kernel):
        return method.quantize_weight(kernel, context_of(method, kernel, 1.0, False))

    def by_name(function):
        found = jax.lax.map(function, jnp.stack([jnp.asarray(k, jnp.float32) for k in KERNELS.values()]))
        return {name: jax.tree.map(lambda leaf, n=n: leaf[n], found) for n, name in enumerate(KERNELS)}

    kernel = jnp.asarray(NORMAL)
    context = context_of(method, kernel)
    with_nan = kernel.at[0, 0, 0, 1].set(jnp.nan)
    result, pull = jax.vjp(lambda x: method.quantize_activation(x, at_inference), ACTIVATIONS)
    upstream = jax.vjp(lambda r: r.value, result)[1](jnp.ones_like(ACTIVATIONS))[0]
    halves = jnp.array([[jnp.nan], [0.5]], jnp.bfloat16)
    functions = {
        "weight": (lambda k: method.quantize_weight(k, context).value, kernel),
        "activation": (lambda x: method.quantize_activation(x, context).value, X),
        "relaxed": (method.relaxed_activation, X),
        "nonlinearity": (nonlinearity, X),
    }
    return Found(
        by_name(trained),
        by_name(deployed),
        method.quantize_weight(with_nan, context_of(method, with_nan)).value,
        (result, pull(upstream)[0]),
        method.relaxed_activation(ACTIVATIONS),
        method.relaxed().quantize_activation(ACTIVATIONS, one).value,
        (method.quantize_activation(halves, one), method.relaxed_activation(halves), nonlinearity(halves)),
        {"relaxed_activation": method.relaxed_activation(LINE), "nonlinearity": nonlinearity(LINE)},
        {part: gradients(function, x) for part, (function, x) in functions.items()},
        (context.learned, context.memory),
        (
            method.remember and method.remember(kernel, IMAGES, context, lambda tree: tree),
            method.remember_gradient and method.remember_gradient(context.memory, UPSTREAM),
        ),
    )


def gradients(function, x):
    """The gradient of a value, and of the same value when it is returned by `jax.vjp`."""

    def loss(x, with_pull):
        value = jax.vjp(function, x)[0] if with_pull else function(x)
        return jnp.sum(jnp.cos(jnp.arange(value.size)) * value.ravel())

    return [jax.grad(loss)(x, with_pull) for with_pull in (False, True)]


@pytest.fixture(scope="module")
def found(method):
    return jax.jit(lambda: probe(method))()


def test_configuration_lists_exactly_the_methods():
    assert set(get_args(MethodName)) == set(METHODS)


def test_every_method_has_its_default_bits_and_names_its_source():
    for name in METHODS:
        method = make_method(name)
        assert method.name == name
        assert defined(name, method.wbits, method.abits) is not None
        assert "arXiv" in method.source
    assert {method.name for method in DEFINED} == set(METHODS)


def test_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown method 'bmn'; allowed are fp, bnn, xnor"):
        make_method("bmn")


@pytest.mark.parametrize("name", METHODS)
def test_bits_are_taken_as_asked_or_refused_with_those_that_are_defined(name):
    refused = 0
    for wbits in (-1, 0, 1, 2, 8, 9, 16, 32):
        for abits in (-1, 0, 1, 2, 8, 9, 16, 32):
            if method := defined(name, wbits, abits):
                assert (method.wbits, method.abits) == (wbits, abits)
                assert {wbits, abits} <= {1, 2, 8, 32}
                continue
            refused += 1
            with pytest.raises(
                ValueError, match=f"method {name} is not defined for {wbits}/{abits} .* it is for"
            ):
                make_method(name, wbits, abits)
    assert refused > 30


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("fp", "it is for 32/32"),
        ("bnn", "it is for 1/1"),
        ("xnor", "it is for 1/1, 1/32"),
        ("dorefa", "it is for 1 to 8 or 32 of each, except 32/32"),
        ("birealnet", "it is for 1/1"),
        ("irnet", "it is for 1/1, 1/32"),
    ],
)
def test_refusal_lists_the_bits_written_out(name, listed):
    with pytest.raises(ValueError, match=f"{listed}$"):
        make_method(name, 9, 9)


def test_method_is_frozen(method):
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.wbits = 2


def test_value_of_a_kernel_is_codes_times_scale(found):
    for kernel, (quantized, value, _) in found.trained.items():
        codes, scale = (None if each is None else np.asarray(each) for each in quantized[:2])
        chex.assert_shape([codes, value], SHAPE)
        chex.assert_type([codes, value], jnp.float32)
        if scale is not None:
            assert scale.shape in ((), (6,), (8, 8, 6))
            assert (quantized.channel_scale >= 0).all()
        factor = 1 if scale is None else scale if scale.ndim < 3 else scale.max((0, 1))
        # A real-valued code may be computed anew, and rounded otherwise, where it is multiplied.
        rtol = 0 if (codes == np.round(codes)).all() else 1e-6
        np.testing.assert_allclose(value, codes * factor, rtol=rtol, err_msg=kernel)


def test_value_and_gradient_of_a_kernel_are_finite(found):
    for kernel, quantized in found.trained.items():
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(quantized)), kernel


def test_a_filter_is_deployed_in_so_many_bits(method, found):
    for kernel, values in KERNELS.items():
        codes = np.asarray(found.deployed[kernel].codes)
        if method.wbits == 32:
            np.testing.assert_array_equal(codes, values, err_msg=kernel)
            continue
        assert max(len(np.unique(codes[..., o])) for o in range(6)) <= 2**method.wbits, kernel
        if method.name not in UNEVEN:
            np.testing.assert_array_equal(codes, np.round(codes), err_msg=kernel)
            assert np.abs(codes).max() < 2**method.wbits, kernel


def test_kernel_trains_in_general(found):
    gradient = np.asarray(found.trained["normal"][2])
    assert (gradient != 0).any(axis=(0, 1, 2)).all()


@pytest.mark.parametrize("part", ["weight", "activation", "relaxed", "nonlinearity"])
def test_a_second_differentiation_sees_the_surrogates(part, found):
    once, beside = map(np.asarray, found.twice[part])
    assert once.any()
    np.testing.assert_allclose(beside, once, rtol=1e-5, atol=1e-6)


def test_weights_with_nan_stay_nan(found):
    assert np.isnan(found.with_nan[0, 0, 0, 1])


def test_codes_of_activations_are_integers_of_so_many_bits(method, found):
    (codes, scale, signs_of), gradient = found.activated
    if signs_of is not None:
        np.testing.assert_array_equal(codes, np.where(signs_of >= 0, 1, -1))
    chex.assert_equal_shape([codes, gradient, ACTIVATIONS])
    assert scale is None or scale.shape == ()
    if method.abits == 32:
        np.testing.assert_array_equal(codes, ACTIVATIONS)
        return
    if method.name not in UNEVEN:
        np.testing.assert_array_equal(codes, np.round(codes))
    assert 2 <= len(np.unique(codes)) <= 2**method.abits
    assert np.isfinite(gradient).all()


def test_activations_keep_nan_and_their_dtype(found):
    (codes, scale, _), *others = found.halves
    chex.assert_type([codes, *others], jnp.bfloat16)
    assert scale is None or scale.dtype == jnp.bfloat16
    np.testing.assert_array_equal(jnp.isnan(codes), [[True], [False]])


def test_relaxed_activation_is_what_the_quantizer_rounds(method, found):
    activated = np.asarray(found.activated[0].value)
    levels = np.unique(activated)
    step = 0.0 if method.abits == 32 else np.diff(levels).max()
    finite = np.isfinite(np.asarray(ACTIVATIONS))
    distance = np.abs(activated[finite] - np.asarray(found.relaxed)[finite])
    assert distance.max() <= step / (1 if method.name in ROUNDS_UP else 2) + 1e-6
    if method.abits != 32:
        ends = np.asarray(found.relaxed)[-1:-3:-1, 0]  # of -inf and inf
        np.testing.assert_allclose(ends, [levels[0], levels[-1]], rtol=1e-6)


@pytest.mark.parametrize("which", ["relaxed_activation", "nonlinearity"])
def test_what_bounds_count_as_one_is_one_lipschitz(which, found):
    x, y = (np.asarray(values, np.float64) for values in (LINE, found.lines[which]))
    steepest = np.abs(np.diff(y) / np.diff(x)).max()
    # Steps of 0.01 between float32 numbers of up to 3; clipped or not, the slope is attained somewhere.
    assert 0.999 < steepest < 1 + 1e-4


def test_relaxed_method_keeps_the_weights_and_has_continuous_activations(method, found):
    relaxed = method.relaxed()
    np.testing.assert_array_equal(found.relaxed_method, found.relaxed)
    assert relaxed.quantize_weight is method.quantize_weight
    assert relaxed.nonlinearity is method.nonlinearity


def test_progress_is_traced_so_that_no_epoch_recompiles(method):
    traces = []

    @jax.jit
    def quantize(kernel, context):
        traces.append(None)
        return method.quantize_weight(kernel, context), method.quantize_activation(kernel, context)

    for progress in (0.0, 0.5, 0.99):
        schedule = method.schedule(jnp.float32(progress))
        chex.assert_tree_all_finite(dict(schedule))
        chex.assert_type(list(schedule.values()), jnp.float32)
        quantize(jnp.ones((3, 3)), context_of(method, np.ones((3, 3)), progress))
    assert len(traces) == 1


def test_projection_of_latents_keeps_shape_and_lands_in_the_clip(method):
    assert (method.project_latent is not None) == (method.name in PROJECTED)
    if method.project_latent is None:
        return
    projected = method.project_latent(jnp.asarray(KERNELS["large"]))
    chex.assert_shape(projected, SHAPE)
    assert jnp.abs(projected).max() == 1


def test_what_a_layer_keeps_is_finite_float32_and_keeps_its_shape(method, found):
    learned, memory = found.kept
    names = [*learned, *memory, *method.schedule(jnp.float32(0))]
    assert len(set(names)) == len(names)
    assert (set(learned), set(memory)) == (set(method.learned), set(method.memory))
    chex.assert_tree_all_finite(found.kept)
    chex.assert_type(jax.tree.leaves(found.kept), jnp.float32)
    changed = [after for after in found.remembered if after is not None]
    for after in changed:
        chex.assert_trees_all_equal_shapes_and_dtypes(after, memory)
    assert bool(memory) == bool(changed)
