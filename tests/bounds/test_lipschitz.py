"""The bound of a network: its algebra, the inequality that it asserts, and its tightness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from method_values import network_context

from bnnjax.bounds.chain import Residual, Slope, UnitStats, unit_names
from bnnjax.bounds.lipschitz import block_table, log_bound, network_log_bound, slopes, unit_table, units_off
from bnnjax.methods import METHODS, make_method
from bnnjax.models import make_model
from bnnjax.models.resnet import ResNet
from bnnjax.nn.units import UNITS, by_unit

CHAIN = ("stem", Residual(("short",), ("b1", "b2")), Residual((), ("b3",)), "head")
NORMS = {"stem": 2.0, "short": 0.5, "b1": 3.0, "b2": 4.0, "b3": 0.25, "head": 5.0}


def test_units_multiply_and_residual_blocks_add():
    bound = log_bound(CHAIN, {name: jnp.float32(norm) for name, norm in NORMS.items()})
    np.testing.assert_allclose(bound, np.log(2 * (0.5 + 3 * 4) * (1 + 0.25) * 5), rtol=1e-6)


def test_empty_chain_is_the_identity():
    assert log_bound((), {}) == 0


def test_names_come_in_the_order_of_the_network():
    assert list(unit_names(CHAIN)) == ["stem", "short", "b1", "b2", "b3", "head"]


def test_log_bound_gradient_is_the_share_of_the_branch():
    gradient = jax.grad(lambda norms: log_bound(CHAIN, norms))({k: jnp.float32(v) for k, v in NORMS.items()})
    # d log L / d b1 = b2 / (short + b1 b2)
    expected = {
        "stem": 1 / 2,
        "short": 1 / 12.5,
        "b1": 4 / 12.5,
        "b2": 3 / 12.5,
        "b3": 1 / 1.25,
        "head": 1 / 5,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(gradient[name], value, rtol=1e-5)


def test_unit_of_norm_zero_leaves_the_shortcut_and_a_finite_gradient():
    chain = (Residual((), ("a",)),)
    value, gradient = jax.value_and_grad(lambda a: log_bound(chain, {"a": a}))(jnp.float32(0))
    np.testing.assert_allclose(value, 0, atol=1e-29)
    assert np.isfinite(gradient)
    np.testing.assert_allclose(log_bound(("a",), {"a": jnp.float32(0)}), np.log(1e-30), rtol=1e-6)


def test_bound_beyond_float32_is_still_a_number_in_logs():
    chain = tuple(f"u{n}" for n in range(100))
    bound = log_bound(chain, {name: jnp.float32(1e10) for name in chain})
    np.testing.assert_allclose(bound, 1000 * np.log(10), rtol=1e-5)


def test_nan_in_a_norm_is_nan_in_the_bound():
    assert jnp.isnan(log_bound(CHAIN, {**{k: jnp.float32(v) for k, v in NORMS.items()}, "b1": jnp.nan}))


def unit_stats(l1, gain, variance, slope=None):
    l1, gain, variance = (jnp.asarray(v, jnp.float32) for v in (l1, gain, variance))
    one = jnp.ones_like(l1)
    return UnitStats(l1, l1, one, gain, variance, variance, one if slope is None else jnp.float32(slope))


def test_network_bound_and_units_off_written_out():
    units = {
        "a": unit_stats([2, 3], [1, -4], [1, 4]),  # max(2, 6)
        "b": unit_stats([10, 0], [0.5, 9], [25, 1]),  # max(1, 0)
        "off": unit_stats([1, 1], [9e-4, 0], [1, 1]),
    }
    np.testing.assert_allclose(network_log_bound(("a", "b"), units), np.log(6), rtol=1e-6)
    assert units_off(units) == 1
    assert units_off({"edge": unit_stats([1], [1.1e-3], [1])}) == 0


# Activations behind a unit inside a branch, behind a sum and in a plain chain.
SLOPED = (
    "a",
    Slope("a"),
    Residual(("b",), ("c", Slope("c"), "d")),
    Slope("d"),
)
STATS = {
    "a": unit_stats([2, 1], [1, 1], [1, 1], [1, 1.5]),
    "b": unit_stats([0.5], [1], [1], [9]),  # which no node asks for
    "c": unit_stats([3], [1], [1], [4]),
    "d": unit_stats([0.25], [1], [1], [2]),
}


def test_learned_activations_multiply_where_they_stand():
    np.testing.assert_allclose(
        network_log_bound(SLOPED, STATS), np.log(2 * 1.5 * (0.5 + 3 * 4 * 0.25) * 2), rtol=1e-6
    )


def test_a_learned_activation_is_no_unit():
    assert list(unit_names(SLOPED)) == ["a", "b", "c", "d"]
    assert units_off(STATS) == 0
    table = unit_table(SLOPED, {name: np.full((1, 1), 2.0) for name in STATS}, lambda name: True)
    assert [(record["unit"], record["l1inf"]) for record in table] == [(name, 2) for name in STATS]


def test_slope_of_a_layer_is_that_of_its_steepest_channel():
    assert {node.unit: float(slope) for node, slope in slopes(STATS).items()} == {
        "a": 1.5,
        "b": 9,
        "c": 4,
        "d": 2,
    }


# fmt: off
CASES = [
    ("resnet_tiny", "bireal", "irnet", None, None),
    ("resnet_tiny", "bireal", "reactnet", None, None),
    ("resnet_tiny", "plain", "bnn", None, None),
    ("resnet_tiny", "plain", "irnet", 1, 32),
    ("vgg_tiny", None, "fp", None, None),
    ("vgg_tiny", None, "dorefa", 3, 2),
    ("option A", "bireal", "xnor", None, None),
]
MORE = [
    *[("resnet_tiny", "bireal", name, None, None) for name in METHODS],
    *[(model, structure, name, None, None)
      for name in ("fp", "bnn", "dorefa", "birealnet", "irnet", "reactnet", "xnorplusplus")
      for model, structure in (("resnet_tiny", "plain"), ("vgg_tiny", None))],
]
# fmt: on
CASES += [pytest.param(case, marks=pytest.mark.slow) for case in MORE if case not in CASES]


def network(name, structure, method):
    """Returns the named surrogate network for 8x8 images and the shapes of its variables."""
    if name == "option A":
        model = ResNet(method.relaxed(), structure, (4, 8), (1, 1), projection=False, classes=5)
    else:
        model = make_model(name, method.relaxed(), structure=structure, classes=5)
    context, blank = network_context(method), jnp.zeros((1, 8, 8, 1))
    shapes = jax.eval_shape(lambda key: model.init(key, blank, context, False), jax.random.key(0))
    return model, context, {key: shapes[key] for key in ("params", "batch_stats")}


def fill(shapes, choose):
    """Returns variables of these shapes, each filled by choose(its name, shape); memory is a variance."""

    def filled(path, leaf):
        names = [entry.key for entry in path]
        return jnp.asarray(choose("variance" if "memory" in names else names[-1], leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(filled, shapes)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(str(part) for part in case if part))
def test_surrogate_network_moves_by_at_most_the_bound_times_the_noise(case):
    model_name, structure, name, wbits, abits = case
    model, schedule, shapes = network(model_name, structure, make_method(name, wbits, abits))
    rng = np.random.default_rng(0)

    def choose(name, shape):
        if name == "variance":
            return np.ones(shape)
        if name == "gain":
            return rng.choice([-1, 1], shape) * rng.uniform(0.2, 1.5, shape)
        if name == "slope":  # of a learned activation
            return rng.choice([-3, -0.5, 0.25, 2], shape)
        return rng.normal(size=shape) * (0.0 if name == "mean" else 0.3)

    variables = fill(shapes, choose)

    def run(variables, batches, x):
        def train(batch_stats, images):
            both = {"params": variables["params"], "batch_stats": batch_stats}
            return model.apply(both, images, schedule, True, mutable=["batch_stats"])[1]["batch_stats"], None

        trained, _ = jax.lax.scan(train, variables["batch_stats"], batches)
        both = {"params": variables["params"], "batch_stats": trained}
        logits, filled = model.apply(both, x, schedule, False, mutable=[UNITS])
        return logits, network_log_bound(model.chain, by_unit(filled[UNITS]))

    pairs = 32
    x = rng.normal(size=(pairs, 8, 8, 1)).astype(np.float32)
    d = rng.choice([-1, 1], x.shape) * np.where(rng.random(x.shape) < 0.5, 1, rng.random(x.shape))
    d = (d * np.repeat([1e-2, 0.1, 1, 30], pairs // 4)[:, None, None, None]).astype(np.float32)
    batches = rng.normal(size=(4, 16, 8, 8, 1)).astype(np.float32)
    logits, bound = jax.jit(run)(variables, batches, np.concatenate([x, x + d]))
    moved = np.abs(logits[pairs:] - logits[:pairs]).max(1)
    reach = np.abs((x + d) - x).max((1, 2, 3))
    assert np.isfinite(bound)
    assert (moved > 0).all()
    # Rounding of the logits themselves is far below what the bound leaves, and is allowed for.
    assert (moved <= np.exp(float(bound)) * reach * (1 + 1e-4) + 1e-5 * np.abs(logits).max()).all()


# With all weights, gains and images positive and no clip reached, the surrogate network is linear, and noise
# of one sign adds up along every path; only the border's zeros are missing.  IR-Net's weights are balanced:
# their signs cancel against noise of one sign, so that it cannot come near.
# ReActNet's activations are all on their left, of slope 1.5: 1.5 (x - 1) + 1.5.
LINEAR = {"gain": 1.0, "variance": 1.0, "before": -1.0, "slope": 1.5, "after": 1.5}


# Nonlinearity ReLU, hardtanh, none and a learned one.
@pytest.mark.parametrize("name", ["fp", "dorefa", "birealnet", "reactnet"])
@pytest.mark.parametrize(("model_name", "structure"), [("resnet_tiny", "plain"), ("resnet_tiny", "bireal")])
def test_bound_is_attained_but_for_the_border(model_name, structure, name):
    model, schedule, shapes = network(model_name, structure, make_method(name))
    rng = np.random.default_rng(0)

    def choose(name, shape):
        if name in ("latent", "kernel"):
            return np.broadcast_to(rng.uniform(0.01, 0.02, (*shape[:-1], 1)), shape)
        return np.full(shape, LINEAR.get(name, 0.0))

    def run(variables, x):
        filled = model.apply(variables, x[:1], schedule, False, mutable=[UNITS])[1][UNITS]
        # Gains that make every unit's norm 1, so that shortcut and branch weigh the same.
        units = by_unit(filled)
        params = variables["params"]
        for path in units:
            *above, last = path.split("/")
            owner = params
            for key in above:
                owner = owner[key]
            if "norm" in owner[last]:
                owner[last]["norm"]["gain"] = 1 / units[path].l1 * jnp.sqrt(units[path].variance)
        logits, filled = model.apply(
            {"params": params, "batch_stats": variables["batch_stats"]}, x, schedule, False, mutable=[UNITS]
        )
        return logits, network_log_bound(model.chain, by_unit(filled[UNITS]))

    x = np.full((2, 64, 64, 1), 1e-3, np.float32)
    x[1] += 1e-3
    logits, bound = jax.jit(run)(fill(shapes, choose), x)
    ratio = float(np.abs(logits[1] - logits[0]).max() / 1e-3 / np.exp(float(bound)))
    # Leaving a shortcut, a branch or the head out of the bound would at least double the ratio, leaving an
    # activation out multiply it by 1.5.
    assert 0.8 < ratio <= 1 + 1e-4


@settings(deadline=None, derandomize=True, max_examples=30)
@given(arrays(np.float32, (2, 2, 3, 4), elements=st.floats(-8, 8, width=32, allow_subnormal=False)))
def test_tightness_is_at_most_one(kernel):
    (record,) = unit_table(("u",), {"u": kernel}, lambda name: True)
    assert 0 < record["tightness"] <= 1 + 1e-9
    assert record["l1inf"] <= record["spectral_bound"] * (1 + 1e-9)


def test_table_of_units_written_out():
    kernels = {
        "a": np.array([[3.0, 0.0], [0.0, -4.0]]),
        "b": np.ones((2, 2, 1, 1)),
        "c": np.zeros((1, 1, 3, 2)),
    }
    a, b, c = unit_table(("a", Residual(("b",), ("c",))), kernels, lambda name: name == "b")
    assert a.pop("tightness") == pytest.approx(1 / np.sqrt(2))
    assert a.pop("spectral_bound") == pytest.approx(4 * np.sqrt(2))
    assert a == {"unit": "a", "kind": "full precision", "fan_in": 2, "l1inf": 4, "spectral": 4, "off": False}
    # A single filter of equal magnitudes: ||w||_1 = sqrt(n) ||w||_2.
    assert b["tightness"] == pytest.approx(1)
    assert (b["kind"], b["fan_in"], b["l1inf"]) == ("binary", 4, 4)
    assert (c["l1inf"], c["spectral"], c["tightness"], c["off"]) == (0, 0, 1, True)


def test_block_table_gives_both_paths_of_every_block_outer_before_inner():
    inner = Residual(("c",), ("d",))
    chain = ("a", Residual((), ("b", inner)), Slope("a"))
    factors = {"a": 7.0, "b": 2.0, "c": 3.0, "d": 5.0, Slope("a"): 9.0}
    outer, within = block_table(chain, {name: jnp.float32(value) for name, value in factors.items()})
    # d ends the inner block, and so the outer one's branch: 2 (3 + 5) beside a shortcut of 1.
    assert (outer["block"], within["block"]) == ("d", "d")
    for record, branch, shortcut in ((outer, 16, 1), (within, 5, 3)):
        np.testing.assert_allclose(
            [record["log_branch"], record["log_shortcut"], record["log_block"]],
            np.log([branch, shortcut, branch + shortcut]),
            rtol=1e-6,
            atol=1e-6,
        )
    assert block_table(("a", "b"), {}) == []
