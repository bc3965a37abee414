"""What holds for every method at all its bits; a new method is tested here by existing."""

import dataclasses
from typing import get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import nonlinearity_of, values_of

from bnnjax.config import MethodName
from bnnjax.methods import METHODS, make_method

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
FEW_BITS = [(None, None), (1, 1), (1, 32), (3, 4), (8, 8), (32, 1), (32, 32)]
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


@pytest.fixture(scope="module")
def quantized(method):
    """The name of each kernel -> (codes and scale, value, gradient), from one compiled function."""

    @jax.jit
    def run(kernel):
        values = values_of(method, kernel)
        result, pull = jax.vjp(lambda k: method.quantize_weight(k, values), kernel)
        upstream = jax.vjp(lambda r: r.value, result)[1](UPSTREAM)[0]
        return result, result.value, pull(upstream)[0]

    return {name: run(jnp.asarray(kernel, jnp.float32)) for name, kernel in KERNELS.items()}


@pytest.fixture(scope="module")
def activated(method):
    """(codes and scale, gradient) of ACTIVATIONS at inference."""

    @jax.jit
    def run(x):
        values = values_of(method, NORMAL[:, :, :1], progress=1.0, training=False)
        result, pull = jax.vjp(lambda x: method.quantize_activation(x, values), x)
        upstream = jax.vjp(lambda r: r.value, result)[1](jnp.ones_like(x))[0]
        return result, pull(upstream)[0]

    return run(ACTIVATIONS)


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


@pytest.mark.parametrize("kernel", KERNELS)
def test_value_of_a_kernel_is_codes_times_scale(kernel, method, quantized):
    (codes, scale), value, _ = quantized[kernel]
    chex.assert_shape([codes, value], SHAPE)
    chex.assert_type([codes, value], jnp.float32)
    if scale is not None:
        assert scale.shape in ((), (6,), (8, 8, 6))
        assert (quantized[kernel][0].channel_scale >= 0).all()
    factor = 1 if scale is None else scale if scale.ndim < 3 else scale.max((0, 1))
    np.testing.assert_array_equal(value, codes * factor)


@pytest.mark.parametrize("kernel", KERNELS)
def test_value_and_gradient_of_a_kernel_are_finite(kernel, method, quantized):
    chex.assert_tree_all_finite(quantized[kernel])


@pytest.fixture(scope="module")
def deployed(method):
    """The name of each kernel -> codes and scale at inference."""
    run = jax.jit(lambda kernel: method.quantize_weight(kernel, values_of(method, kernel, 1.0, False)))
    return {name: run(jnp.asarray(kernel, jnp.float32)) for name, kernel in KERNELS.items()}


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_filter_is_deployed_in_so_many_bits(kernel, method, deployed):
    codes = np.asarray(deployed[kernel].codes)
    if method.wbits == 32:
        np.testing.assert_array_equal(codes, KERNELS[kernel])
        return
    assert max(len(np.unique(codes[..., o])) for o in range(6)) <= 2**method.wbits
    if method.name not in UNEVEN:
        np.testing.assert_array_equal(codes, np.round(codes))
        assert np.abs(codes).max() < 2**method.wbits


def test_kernel_trains_in_general(method, quantized):
    gradient = np.asarray(quantized["normal"][2])
    assert (gradient != 0).any(axis=(0, 1, 2)).all()


def test_weights_with_nan_stay_nan(method):
    kernel = jnp.asarray(NORMAL).at[0, 0, 0, 1].set(jnp.nan)
    assert jnp.isnan(method.quantize_weight(kernel, values_of(method, kernel)).value[0, 0, 0, 1])


def test_codes_of_activations_are_integers_of_so_many_bits(method, activated):
    (codes, scale), gradient = activated
    chex.assert_equal_shape([codes, gradient, ACTIVATIONS])
    assert scale is None or scale.shape == ()
    if method.abits == 32:
        np.testing.assert_array_equal(codes, ACTIVATIONS)
        return
    if method.name not in UNEVEN:
        np.testing.assert_array_equal(codes, np.round(codes))
    assert 2 <= len(np.unique(codes)) <= 2**method.abits
    assert np.isfinite(gradient).all()


def test_activations_keep_nan_and_their_dtype(method):
    x = jnp.array([[jnp.nan], [0.5]], jnp.bfloat16)
    codes, scale = method.quantize_activation(x, values_of(method, NORMAL[:, :, :1]))
    chex.assert_type([codes, method.relaxed_activation(x), nonlinearity_of(method)(x)], jnp.bfloat16)
    assert scale is None or scale.dtype == jnp.bfloat16
    np.testing.assert_array_equal(jnp.isnan(codes), [[True], [False]])


def test_relaxed_activation_is_what_the_quantizer_rounds(method, activated):
    levels = np.unique(activated[0].value)
    step = 0.0 if method.abits == 32 else np.diff(levels).max()
    finite = np.isfinite(np.asarray(ACTIVATIONS))
    relaxed = np.asarray(method.relaxed_activation(ACTIVATIONS))
    distance = np.abs(np.asarray(activated[0].value)[finite] - relaxed[finite])
    assert distance.max() <= step / (1 if method.name in ROUNDS_UP else 2) + 1e-6
    if method.abits != 32:
        ends = method.relaxed_activation(jnp.array([-jnp.inf, jnp.inf]))
        np.testing.assert_allclose(ends, [levels[0], levels[-1]], rtol=1e-6)


@pytest.mark.parametrize("which", ["relaxed_activation", "nonlinearity"])
def test_what_bounds_count_as_one_is_one_lipschitz(which, method):
    x = np.linspace(-3, 3, 601)
    function = nonlinearity_of(method) if which == "nonlinearity" else method.relaxed_activation
    y = np.asarray(function(jnp.asarray(x, jnp.float32)), np.float64)
    steepest = np.abs(np.diff(y) / np.diff(x)).max()
    # Steps of 0.01 between float32 numbers of up to 3; clipped or not, the slope is attained somewhere.
    assert 0.999 < steepest < 1 + 1e-4


def test_relaxed_method_keeps_the_weights_and_has_continuous_activations(method):
    relaxed, values = method.relaxed(), values_of(method, NORMAL[:, :, :1])
    np.testing.assert_array_equal(
        relaxed.quantize_activation(ACTIVATIONS, values).value, method.relaxed_activation(ACTIVATIONS)
    )
    assert relaxed.quantize_weight is method.quantize_weight
    assert relaxed.nonlinearity is method.nonlinearity


def test_progress_is_traced_so_that_no_epoch_recompiles(method):
    traces = []

    @jax.jit
    def quantize(kernel, values):
        traces.append(None)
        return method.quantize_weight(kernel, values), method.quantize_activation(kernel, values)

    for progress in (0.0, 0.5, 0.99):
        schedule = method.schedule(jnp.float32(progress))
        chex.assert_tree_all_finite(dict(schedule))
        chex.assert_type(list(schedule.values()), jnp.float32)
        quantize(jnp.ones((3, 3)), values_of(method, np.ones((3, 3)), progress))
    assert len(traces) == 1


def test_projection_of_latents_keeps_shape_and_lands_in_the_clip(method):
    assert (method.project_latent is not None) == (method.name in PROJECTED)
    if method.project_latent is None:
        return
    projected = method.project_latent(jnp.asarray(KERNELS["large"]))
    chex.assert_shape(projected, SHAPE)
    assert jnp.abs(projected).max() == 1


def test_what_a_layer_keeps_is_finite_float32_and_keeps_its_shape(method):
    values = values_of(method, NORMAL)
    kept = {name: values[name] for name in [*method.learned, *method.memory]}
    assert len(kept) == len(method.learned) + len(method.memory)
    assert not set(kept) & {*method.schedule(jnp.float32(0)), "key", "epoch_begins"}
    chex.assert_tree_all_finite(kept)
    chex.assert_type(list(kept.values()), jnp.float32)
    memory = {name: values[name] for name in method.memory}
    if method.remember is not None:
        x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 8, 8, 4)), jnp.float32)
        chex.assert_trees_all_equal_shapes_and_dtypes(
            method.remember(jnp.asarray(NORMAL), x, values, lambda tree: tree), memory
        )
    if method.remember_gradient is not None:
        chex.assert_trees_all_equal_shapes_and_dtypes(method.remember_gradient(memory, UPSTREAM), memory)
    assert bool(memory) == (method.remember is not None or method.remember_gradient is not None)
