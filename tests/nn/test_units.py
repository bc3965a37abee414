"""Units: the folded norm is the operator norm of convolution and batch norm, found by brute force."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import in_layer, network_context

from bnnjax.methods import METHODS, make_method
from bnnjax.methods.base import keep
from bnnjax.nn.units import KERNELS, SQUARES, UNITS, Head, Unit, by_unit, replace_gains
from bnnjax.ops.norms import folded_l1, maximum

CHOICES = [(name, None, None) for name in METHODS] + [("dorefa", 3, 2), ("dorefa", 32, 1)]
IDS = ["-".join(str(part) for part in choice if part) for choice in CHOICES]


def random_variables(module, *arguments, seed=0):
    """Returns variables with random kernels, gains of both signs, biases and running statistics."""
    shapes = jax.eval_shape(lambda key: module.init(key, *arguments), jax.random.key(0))
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        positive = path[-1].key == "variance" or "memory" in [entry.key for entry in path]
        value = rng.uniform(0.2, 3, leaf.shape) if positive else rng.normal(size=leaf.shape)
        return jnp.asarray(value, leaf.dtype)

    return {
        key: jax.tree_util.tree_map_with_path(fill, shapes[key])
        for key in ("params", "batch_stats")
        if key in shapes
    }


def setup(module, method, shape):
    """Returns random variables and x -> y, the unit's record and its folded kernel at inference."""
    arguments = (network_context(method, training=False), False) if isinstance(module, Unit) else (False,)
    variables = random_variables(module, jnp.zeros((1, *shape)), *arguments)

    @jax.jit
    def forward(x):
        y, filled = module.apply(variables, x, *arguments, mutable=[UNITS, KERNELS])
        return y, filled[UNITS]["record"], filled[KERNELS]["record"]

    return variables, forward


def operator_matrix(function, shape):
    """Returns the matrix of an affine function of one image, by pushing every unit vector through it."""
    size = int(np.prod(shape))
    base = np.asarray(function(jnp.zeros((1, *shape)))).reshape(1, -1)
    columns = np.asarray(function(jnp.eye(size).reshape(size, *shape))).reshape(size, -1) - base
    return columns.T.astype(np.float64)


def folded_norm_and_largest_row_sum(method, shape, stride, **options):
    """Returns the unit's recorded norm and the norm of its operator."""
    method = replace(method, quantize_activation=keep, signs=False)
    _, forward = setup(Unit(4, method, stride=stride, **options), method, shape)
    norm = forward(jnp.zeros((1, *shape)))[1].norm
    return norm, np.abs(operator_matrix(lambda x: forward(x)[0], shape)).sum(1).max()


@pytest.mark.parametrize(("name", "wbits", "abits"), CHOICES, ids=IDS)
def test_folded_norm_is_the_largest_row_sum_of_the_operator(name, wbits, abits):
    # The middle pixel of a 5x5 image sees no border.
    norm, brute_force = folded_norm_and_largest_row_sum(make_method(name, wbits, abits), (5, 5, 3), 1)
    if (
        name == "xnorplusplus"
    ):  # whose largest scale may stand at the border, where it meets less of the kernel
        assert 0 < brute_force <= norm * (1 + 1e-4)
    else:
        np.testing.assert_allclose(norm, brute_force, rtol=1e-4)  # differences f(e) - f(0) of float32 numbers


# Of each kind: with a scale, in full precision, with a scale per pixel, with filters of zeros.
KINDS = {"irnet", "fp", "xnorplusplus", "sqtwn"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in KINDS else pytest.mark.slow) for name in METHODS]
)
def test_a_floor_keeps_the_norm_of_a_gain_below_the_radius_and_in_its_record(name):
    method, options = make_method(name), {"radius_of": {"": 0.5}.__getitem__}
    norm, brute_force = folded_norm_and_largest_row_sum(method, (5, 5, 3), 1, **options)
    if name == "xnorplusplus":  # as above
        assert 0 < brute_force <= norm * (1 + 1e-4)
    else:
        np.testing.assert_allclose(norm, brute_force, rtol=1e-4)
    _, forward = setup(Unit(4, method, **options), method, (5, 5, 3))
    _, record, _ = forward(jnp.zeros((1, 5, 5, 3)))
    # By its definition, from what a unit without a floor records.
    _, plain = setup(Unit(4, method), method, (5, 5, 3))
    _, without, _ = plain(jnp.zeros((1, 5, 5, 3)))
    variance = np.asarray(without.variance) + (np.asarray(without.l1) / 0.5) ** 2
    np.testing.assert_allclose(record.variance, variance, rtol=1e-6)
    np.testing.assert_allclose(record.batch_variance, variance, rtol=1e-6)
    assert norm <= 0.5 * np.abs(record.gain).max() * (1 + 1e-6)


@pytest.mark.parametrize("name", ["xnor", "fp"])
def test_stride_keeps_the_norm_and_zero_padding_only_lowers_it(name):
    method = make_method(name)
    # Output pixel (1, 1) of stride 2 on 4x4 sees no border.
    norm, brute_force = folded_norm_and_largest_row_sum(method, (4, 4, 3), 2)
    np.testing.assert_allclose(norm, brute_force, rtol=1e-4)
    # Here every window loses a row and a column of the kernel, whose weights are not zero.
    for shape, stride in (((2, 2, 3), 1), ((3, 3, 3), 2)):
        norm, brute_force = folded_norm_and_largest_row_sum(method, shape, stride)
        assert 0 < brute_force < 0.99 * norm


@pytest.mark.parametrize("normalize", [True, False])
def test_folded_norm_of_the_classifier_is_its_largest_row_sum(normalize):
    head = Head(5, normalize=normalize)
    _, forward = setup(head, make_method("fp"), (7,))
    record = forward(jnp.zeros((1, 7)))[1]
    brute_force = np.abs(operator_matrix(lambda x: forward(x)[0], (7,))).sum(1).max()
    np.testing.assert_allclose(record.norm, brute_force, rtol=1e-4)


def test_pooling_between_convolution_and_batch_norm_keeps_the_norm_an_upper_bound():
    method = replace(make_method("xnor"), quantize_activation=keep, signs=False)
    _, forward = setup(Unit(4, method, pool=True), method, (6, 6, 3))
    rng = np.random.default_rng(0)
    x, d = rng.normal(size=(64, 6, 6, 3)), rng.choice([-0.1, 0.1], (64, 6, 6, 3))
    y, record, _ = forward(jnp.asarray(x, jnp.float32))
    chex.assert_shape(y, (64, 3, 3, 4))
    moved = np.abs(forward(jnp.asarray(x + d, jnp.float32))[0] - y).max()
    assert 0 < moved <= record.norm * 0.1 * (1 + 1e-4)


@pytest.mark.parametrize(("name", "wbits", "abits"), CHOICES, ids=IDS)
def test_record_of_a_unit_agrees_with_its_kernel_and_batch_norm(name, wbits, abits):
    method = make_method(name, wbits, abits)
    variables, forward = setup(Unit(4, method), method, (5, 5, 3))
    _, record, folded = forward(jnp.zeros((1, 5, 5, 3)))
    chex.assert_shape(list(record), (4,))
    chex.assert_type(list(record), jnp.float32)
    layer = variables["params"]["conv"]
    latent = layer["kernel" if method.wbits == 32 else "latent"]
    norm, running = variables["params"]["norm"], variables["batch_stats"]["norm"]
    memory = variables["batch_stats"].get("conv", {})
    weight = method.quantize_weight(latent, in_layer(network_context(method, training=False), layer, memory))
    np.testing.assert_allclose(record.l1, np.abs(weight.value).sum((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(record.latent_l1, np.abs(latent).sum((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(record.scale, weight.channel_scale + 0 * record.l1, rtol=1e-6)
    np.testing.assert_array_equal(record.gain, norm["gain"])
    deviation = np.sqrt(np.asarray(running["variance"]) + 1e-5)
    np.testing.assert_allclose(folded, weight.value * norm["gain"] / deviation, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(np.abs(folded).sum((0, 1, 2)).max(), record.norm, rtol=1e-5)


# DoReFa-Net's k-bit weights squash the kernel with a tanh, of which 10 W lies further out than W: the codes
# change, and with them the network.  Every other definition gives the same signs, or 10 times the kernel.
@pytest.mark.parametrize(("name", "wbits", "abits"), CHOICES, ids=IDS)
def test_folded_norm_does_not_see_the_scale_of_the_latent_kernel(name, wbits, abits):
    method = make_method(name, wbits, abits)
    unit, context = Unit(4, method), network_context(method)
    x = jnp.asarray(np.random.default_rng(2).normal(0.4, 1, (8, 6, 6, 3)), jnp.float32)
    variables = random_variables(unit, x, context, False)
    params = variables["params"]

    @jax.jit
    def norm(factor):
        layer = {key: value if key == "learned" else factor * value for key, value in params["conv"].items()}
        scaled = {**params, "conv": layer}
        both = {"params": scaled, "batch_stats": variables["batch_stats"]}
        _, filled = unit.apply(both, x, context, True, mutable=["batch_stats", UNITS])
        record = filled[UNITS]["record"]
        # The norm at inference once the running variance is that of this batch.
        return maximum(folded_l1(record.l1, record.gain, record.batch_variance))

    ratio = norm(10.0) / norm(1.0)
    if name == "dorefa" and wbits == 3:
        assert abs(ratio - 1) > 0.01
    else:
        # epsilon = 1e-5 beside variances above 0.01.
        np.testing.assert_allclose(ratio, 1, rtol=1e-3)


def test_squares_are_those_of_the_kernel_in_use():
    method = make_method("xnor")
    unit, context = Unit(4, method), network_context(method, training=False)
    variables = random_variables(unit, jnp.zeros((1, 5, 5, 3)), context, False)
    _, filled = unit.apply(variables, jnp.zeros((1, 5, 5, 3)), context, False, mutable=[SQUARES])
    scale = np.abs(variables["params"]["conv"]["latent"]).mean((0, 1, 2))
    np.testing.assert_allclose(filled[SQUARES]["record"], 27 * scale**2, rtol=1e-5)


def test_records_are_found_by_the_names_of_their_units():
    tree = {"stem": {"record": 1}, "stage1": {"conv1": {"record": 2}}}
    assert by_unit(tree) == {"stem": 1, "stage1/conv1": 2}


def test_replacing_gains_touches_the_named_gains_alone():
    params = {
        "stem": {"conv": {"kernel": 1}, "norm": {"gain": 2, "bias": 3}},
        "block": {"conv1": {"norm": {"gain": 4, "bias": 5}}, "conv2": {"norm": {"gain": 6, "bias": 7}}},
        "head": {"dense": {"kernel": 8}, "input_norm": {"gain": 9, "bias": 10}},
    }
    new = replace_gains(params, {"stem": 20, "block/conv2": 60, "head": 90})
    assert new == {
        "stem": {"conv": {"kernel": 1}, "norm": {"gain": 20, "bias": 3}},
        "block": {"conv1": {"norm": {"gain": 4, "bias": 5}}, "conv2": {"norm": {"gain": 60, "bias": 7}}},
        "head": {"dense": {"kernel": 8}, "input_norm": {"gain": 9, "bias": 10}},
    }
    assert params["stem"]["norm"]["gain"] == 2
