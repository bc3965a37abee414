"""Lipschitz continuity retention: both losses by hand and by NumPy in float64, and what it rejects."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.config.constraints import LCRConfig
from bnnjax.config.training import Config
from bnnjax.constraints import Seen, make_constraint
from bnnjax.constraints.lcr import lcr
from bnnjax.constraints.objective import constrain
from bnnjax.models.network import Collected

CHAIN = ("stem", "c", "a", "b", "head")  # the layers' order is not that of their names
BATCH = 6


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def stages(*channels, images=BATCH, seed=0):
    """Stages, each half the size of the one before, with values around 0 and hardtanh's ends."""
    size = 2 ** (len(channels) - 1)
    return tuple(
        normal(images, size >> n, size >> n, count, seed=seed + n) * 1.2 for n, count in enumerate(channels)
    )


def seen(**parts):
    return Seen({}, {}, jnp.float32(0.5), **parts)


def penalty(config, batch=BATCH, **parts):
    value, state = lcr(config, CHAIN, batch).penalty(seen(**parts), ())
    assert state == ()
    return value


def retention(x, y):
    """One matrix per image; x is averaged in equal windows."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    factor = x.shape[1] // y.shape[1]
    x = x.reshape(len(x), y.shape[1], factor, y.shape[2], factor, -1).mean(axis=(2, 4))
    return [
        x[n].reshape(-1, x.shape[-1]).T @ y[n].reshape(-1, y.shape[-1]) / (y.shape[1] * y.shape[2])
        for n in range(len(x))
    ]


def sigma_hat(matrix):
    return np.sqrt(np.linalg.norm(matrix @ matrix.T @ np.ones(len(matrix))))


def repo_by_numpy(ours, theirs, batch=BATCH, gains=None, strength=8.0, beta=2.0):
    gains = np.ones(len(ours)) if gains is None else gains
    b = [gain * np.clip(stage, -1, 1) for gain, stage in zip(gains, ours, strict=True)]
    f = [np.maximum(stage, 0) for stage in theirs]
    total = 0.0
    for k in range(1, len(ours)):
        ours_each = [sigma_hat(one) for one in retention(b[k - 1], b[k])]
        theirs_each = [sigma_hat(one) for one in retention(f[k - 1], f[k])]
        total += beta ** (k - len(ours)) * np.mean(np.subtract(ours_each, theirs_each) ** 2)
    return strength * total / (batch * 10_000)


OURS, THEIRS = stages(3, 5, 4), stages(2, 6, 3, seed=9)


def test_repo_form_by_hand():
    # One pixel, one channel: sigma of each pair is the product of the two numbers.
    ours = [np.full((2, 1, 1, 1), value, np.float32) for value in (0.5, -0.5, 3.0)]  # clipped: 0.25, 0.5
    theirs = [np.full((2, 1, 1, 1), value, np.float32) for value in (2.0, 3.0, -1.0)]  # ReLU: 6, 0
    expected = 8 / (128 * 10_000) * (5.75**2 / 4 + 0.5**2 / 2)
    found = penalty(LCRConfig(), 128, stages=ours, teacher=theirs)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_repo_form_of_random_features(count):
    ours, theirs = stages(*(3, 5, 4, 2)[:count]), stages(*(2, 6, 3, 7)[:count], seed=9)
    found = penalty(LCRConfig(), stages=ours, teacher=theirs)
    np.testing.assert_allclose(found, repo_by_numpy(ours, theirs), rtol=1e-5)
    other = penalty(LCRConfig(strength=0.5, beta=3.0), 7, stages=ours, teacher=theirs)
    np.testing.assert_allclose(other, repo_by_numpy(ours, theirs, 7, strength=0.5, beta=3.0), rtol=1e-5)


def test_four_stages_weigh_an_eighth_a_quarter_and_a_half():
    zero = [np.zeros((1, 1, 1, 1), np.float32)] * 4
    for pair, weight in enumerate((1 / 8, 1 / 4, 1 / 2)):
        theirs = [np.full((1, 1, 1, 1), float(n in (pair, pair + 1)), np.float32) for n in range(4)]
        found = penalty(LCRConfig(strength=1e4), 1, stages=zero, teacher=theirs)
        np.testing.assert_allclose(found, weight, rtol=1e-6)


def slope_by_differences(function, point, direction, step=1e-5):
    point, direction = np.asarray(point, np.float64), np.asarray(direction, np.float64)
    return (function(point + step * direction) - function(point - step * direction)) / (2 * step)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_repo_form_has_the_gradient_of_finite_differences(place):
    direction = normal(*OURS[place].shape, seed=20)

    def value(stage):
        return repo_by_numpy([stage if n == place else own for n, own in enumerate(OURS)], THEIRS)

    def ours(stage):
        changed = [stage if n == place else own for n, own in enumerate(OURS)]
        return penalty(LCRConfig(), stages=changed, teacher=THEIRS)

    gradient = jax.grad(ours)(OURS[place])
    slope = slope_by_differences(value, OURS[place], direction)
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-3)


def test_equal_features_cost_nothing():
    ours = [np.abs(np.clip(stage, -1, 1)) for stage in OURS]
    assert penalty(LCRConfig(strength=1e6), stages=ours, teacher=ours) == 0


@pytest.mark.parametrize("which", ["ours", "theirs", "one stage of ours"])
def test_features_of_zeros_have_a_finite_gradient(which):
    ours, theirs = list(OURS), list(THEIRS)
    for place in [1] if which == "one stage of ours" else [0, 1, 2]:
        (theirs if which == "theirs" else ours)[place] = 0 * (theirs if which == "theirs" else ours)[place]
    value, gradient = jax.value_and_grad(lambda s: penalty(LCRConfig(), stages=s, teacher=theirs))(ours)
    np.testing.assert_allclose(value, repo_by_numpy(ours, theirs), rtol=1e-5)
    assert value > 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_gains_multiply_the_features_and_begin_as_nothing():
    config = LCRConfig(gains=True)
    constraint = lcr(config, CHAIN, BATCH)
    (name,) = constraint.learned(seen(stages=OURS, teacher=THEIRS))
    begin = constraint.learned(seen(stages=OURS, teacher=THEIRS))[name]
    np.testing.assert_array_equal(begin, np.ones(3))
    parts = {"stages": OURS, "teacher": THEIRS}
    np.testing.assert_allclose(penalty(config, learned={name: begin}, **parts), penalty(LCRConfig(), **parts))
    gains = np.array([0.5, 2.0, 1.5], np.float32)
    found = penalty(config, learned={name: gains}, **parts)
    np.testing.assert_allclose(found, repo_by_numpy(OURS, THEIRS, gains=gains), rtol=1e-5)
    slope = slope_by_differences(lambda g: repo_by_numpy(OURS, THEIRS, gains=g), gains, [1.0, -1.0, 2.0])
    gradient = jax.grad(lambda g: penalty(config, learned={name: g}, **parts))(gains)
    np.testing.assert_allclose(gradient @ np.array([1.0, -1.0, 2.0]), slope, rtol=1e-3)
    assert lcr(LCRConfig(), CHAIN, BATCH).learned is None


def layers(seed=0):
    """Inputs and signs of three layers, the second of which halves the image."""
    inputs = {
        name: normal(BATCH, size, size, count, seed=seed + n)
        for n, (name, size, count) in enumerate((("c", 4, 3), ("a", 4, 5), ("b", 2, 4)))
    }
    return {name: (x, np.where(x >= 0, 1, -1).astype(np.float32)) for name, x in inputs.items()}


def paper_by_numpy(activations, strength=0.1, beta=2.0):
    order = [activations[name] for name in ("c", "a", "b")]
    total = 0.0
    for k in (1, 2):
        (x, x_codes), (y, y_codes) = order[k - 1], order[k]
        real = np.array([np.linalg.norm(one, 2) for one in retention(x, y)])
        binary = np.array([np.linalg.norm(one, 2) for one in retention(x_codes, y_codes)])
        total += np.mean(((real / (binary + 1e-3) - 1) * beta ** (k - 3)) ** 2)
    return strength / 2 * total


def test_paper_form_by_hand():
    # One pixel, one channel: sigma_F is the product of the inputs' sizes, sigma_B is 1.
    def both(value):
        return np.full((2, 1, 1, 1), value, np.float32), np.full((2, 1, 1, 1), np.sign(value), np.float32)

    activations = {"a": both(-2.0), "c": both(3.0), "b": both(0.25)}
    expected = 0.6 / 2 * (((6 / 1.001 - 1) / 4) ** 2 + ((0.5 / 1.001 - 1) / 2) ** 2)
    found = penalty(LCRConfig(form="paper", strength=0.6), activations=activations)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_paper_form_of_random_activations():
    config = {"form": "paper", "iterations": 200}
    found = penalty(LCRConfig(**config), activations=layers())
    np.testing.assert_allclose(found, paper_by_numpy(layers()), rtol=1e-3)
    other = penalty(LCRConfig(**config, strength=3.0, beta=1.5), activations=layers())
    np.testing.assert_allclose(other, paper_by_numpy(layers(), 3.0, 1.5), rtol=1e-3)
    few = penalty(LCRConfig(form="paper", iterations=1), activations=layers())
    assert not np.allclose(few, found, rtol=1e-3)


@pytest.mark.slow
def test_paper_form_has_the_gradient_of_finite_differences():
    activations, side = layers(), 1
    for place in ("c", "a", "b"):
        side = 1 - side  # the input of one layer, the codes of the next
        direction = normal(*activations[place][side].shape, seed=20)

        def replaced(array, place=place, side=side):
            pair = list(activations[place])
            pair[side] = array
            return {**activations, place: tuple(pair)}

        def ours(array, replaced=replaced):
            return penalty(LCRConfig(form="paper", iterations=200), activations=replaced(array))

        gradient = jax.grad(ours)(activations[place][side])
        slope = slope_by_differences(
            lambda array, replaced=replaced: paper_by_numpy(replaced(array)),
            activations[place][side],
            direction,
        )
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=5e-3)


def test_activations_of_zeros_have_a_finite_gradient_in_the_paper_form():
    zeros = jax.tree.map(np.zeros_like, layers())
    for activations, value in ((zeros, 0.1 / 2 * (1 / 16 + 1 / 4)), ({**layers(), "a": zeros["a"]}, None)):
        found, gradient = jax.value_and_grad(lambda both: penalty(LCRConfig(form="paper"), activations=both))(
            activations
        )
        assert value is None or found == pytest.approx(value)
        assert np.isfinite(found)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_bfloat16_features_give_a_float32_penalty():
    half = [jnp.asarray(stage, jnp.bfloat16) for stage in OURS]
    found = penalty(LCRConfig(), stages=half, teacher=[jnp.asarray(s, jnp.bfloat16) for s in THEIRS])
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, repo_by_numpy(OURS, THEIRS), rtol=0.05)
    pairs = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), layers())
    assert penalty(LCRConfig(form="paper"), activations=pairs).dtype == jnp.float32


@pytest.mark.parametrize(
    ("ours", "theirs", "sentence"),
    [
        (stages(3), (), "^lcr.form repo compares a network's stages with the next; this has 1$"),
        ((), (), "this has 0$"),
        (OURS, stages(3, 5), "^the network that lcr compares with has stages of 2x2, 1x1; 4x4, 2x2, 1x1 are"),
        (OURS[:2], OURS[1:], "has stages of 2x2, 1x1; 4x4, 2x2 are needed$"),
    ],
)
def test_stages_that_do_not_fit_are_refused(ours, theirs, sentence):
    with pytest.raises(ValueError, match=sentence):
        lcr(LCRConfig(), CHAIN, BATCH).validate(seen(stages=ours, teacher=theirs))


def test_fewer_than_two_binary_layers_are_refused_by_the_paper_form():
    constraint = lcr(LCRConfig(form="paper"), CHAIN, None)
    constraint.validate(seen(activations=layers()))
    assert constraint.learned is None
    for kept in ({}, {"a": layers()["a"]}):
        with pytest.raises(
            ValueError, match=rf"^lcr.form paper compares layers .*; this network has {len(kept)}$"
        ):
            constraint.validate(seen(activations=kept))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"strength": -1.0}, "^lcr.strength must be 0 or positive, and finite; got -1.0$"),
        ({"strength": np.nan}, "^lcr.strength must be"),
        ({"beta": 0.5}, "^lcr.beta must be at least 1, and finite; got 0.5$"),
        ({"beta": np.inf}, "^lcr.beta must be"),
        ({"iterations": 0}, "^lcr.iterations must be at least 1; got 0$"),
        ({"iterations": 3}, "^lcr.iterations is for lcr.form paper; got 3 with repo$"),
        ({"form": "paper", "teacher": "run"}, "^lcr.teacher is for lcr.form repo; got run with paper$"),
        ({"form": "paper", "gains": True}, "^lcr.gains is for lcr.form repo; got True with paper$"),
        ({"form": "paper", "second_pass": True}, "^lcr.second_pass is for lcr.form repo; got True"),
    ],
)
def test_settings_without_a_meaning_are_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        LCRConfig(**values)


def test_settings_act_with_the_constraint_alone():
    with pytest.raises(ValueError, match=r"^the lcr settings act with constraint lcr only; got l1inf$"):
        Config(constraint="l1inf", lcr=LCRConfig(beta=3.0))
    assert Config(constraint="lcr").compares
    assert not Config(constraint="lcr", lcr=LCRConfig(form="paper")).compares
    assert not Config().compares


def test_combined_with_l1inf_both_add_and_what_is_learned_is_kept_apart():
    config = Config(constraint="lcr,l1inf", batch_size=BATCH, lcr=LCRConfig(gains=True, second_pass=True))
    both = make_constraint(config, ())
    assert both.needs == {"stages", "teacher"}
    assert both.second_pass
    shown = seen(stages=OURS, teacher=THEIRS)
    shown = shown._replace(learned=both.learned(shown))
    state = both.init({})
    np.testing.assert_allclose(both.penalty(shown, state)[0], repo_by_numpy(OURS, THEIRS), rtol=1e-5)
    alone = make_constraint(Config(constraint="l1inf"), ())
    assert (alone.learned, alone.second_pass) == (None, False)


def test_a_combination_refuses_what_any_of_its_constraints_refuses():
    for names in ("lcr,l1inf", "l1inf,lcr"):
        both = make_constraint(Config(constraint=names, batch_size=BATCH), ())
        both.validate(seen(stages=OURS, teacher=THEIRS))
        with pytest.raises(ValueError, match=r"this has 1$"):
            both.validate(seen(stages=OURS[:1], teacher=THEIRS[:1]))
        assert both.learned is None
    assert make_constraint(Config(constraint="l1inf"), ()).validate is None


@pytest.mark.parametrize("gains", [False, True])
def test_a_network_that_does_not_fit_is_refused_when_it_is_constrained(gains):
    def infer(params, batch_stats, images, collections):
        return None, Collected({}, {}, jnp.zeros(()), dict.fromkeys(collections, (images,)))

    one_stage = SimpleNamespace(init=lambda key: ({}, {}), infer=infer, image_shape=(4, 4, 3))
    constraint = lcr(LCRConfig(gains=gains), CHAIN, BATCH)
    with pytest.raises(ValueError, match=r"this has 1$"):
        constrain(one_stage, constraint)
