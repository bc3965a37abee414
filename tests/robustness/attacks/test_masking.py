"""Networks whose gradients vanish: what breaks them, and the signs of masking."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of

from bnnjax.methods import Context, Quantized, make_method
from bnnjax.methods.base import clipped_sign
from bnnjax.ops.sign import sign
from bnnjax.robustness.attacks import (
    Target,
    apgd,
    cross_entropy,
    dlr,
    fgsm,
    pgd,
    search,
    signs_of_masking,
    square,
    strongest,
)
from bnnjax.robustness.attacks.smoothed import SURROGATE, clip_straight, smoothed_quantizer

RNG = np.random.default_rng(0)
# Two classes, so that whatever climbs finds the optimum, and one that never wins.
MATRIX = RNG.normal(size=(12, 3)).astype(np.float32) * np.array([1, 1, 0], np.float32)
HIDDEN, OUT = (
    RNG.normal(size=(12, 64)).astype(np.float32),
    RNG.normal(size=(64, 4)).astype(np.float32),
)
IMAGES = jnp.asarray(RNG.uniform(0.2, 0.8, (64, 2, 2, 3)), jnp.float32)
KEY = jax.random.key(0)
LADDER = (0.0, 0.05, 0.2, 1.0)


def linear(images: Any, temperature: Any = None) -> Any:
    return (images - 0.5).reshape(len(images), -1) @ jnp.asarray(MATRIX) - jnp.array([0.0, 0.0, 100.0])


def saturated(images: Any, temperature: Any = None) -> Any:
    return 1e4 * linear(images)


def flat(images: Any, temperature: Any = None) -> Any:
    """A network of signs, without a gradient at temperature None."""
    x = (images - 0.5).reshape(len(images), -1) @ jnp.asarray(HIDDEN)
    if temperature is None:
        return sign(x) @ jnp.asarray(OUT)
    quantize = smoothed_quantizer(lambda x, context: Quantized(sign(x)))
    return quantize(x, Context({SURROGATE: jnp.float32(temperature)})).codes @ jnp.asarray(OUT)


def labels_of(network: Any) -> Any:
    return jnp.argmax(network(IMAGES), axis=1).astype(jnp.int32)


def standing(found: Any) -> float:
    return 100 * float(np.mean(~np.asarray(found.is_broken)))


def study(network: Any, loss: Any = cross_entropy, eps: float = 0.05) -> tuple[Any, Any]:
    """Accuracies by attack, and the ladder."""
    given = (network, KEY, IMAGES, labels_of(network), jnp.float32(eps))
    found = {
        "fgsm": fgsm(*given, loss=loss),
        "pgd_linf": pgd(*given, steps=10, loss=loss),
        "apgd_ce": apgd(*given, steps=10, loss=loss),
        "square": square(*given, queries=100),
    }
    ladder = {}
    for size in LADDER:
        rung = pgd(*given[:4], jnp.float32(size), steps=10, loss=loss)
        ladder[f"{size:g}"] = {"accuracy": standing(rung), "loss": float(np.mean(rung.losses))}
    return {"0.05": {name: standing(each) for name, each in found.items()}}, ladder


def test_nothing_is_said_of_a_linear_model() -> None:
    by_eps, ladder = study(linear)
    assert 5 < by_eps["0.05"]["pgd_linf"] < 95
    found = search(Target(linear), KEY, IMAGES, labels_of(linear), 0.05, surrogates=(None,))
    settings = [s._asdict() for s in found]
    assert signs_of_masking(by_eps, ladder, settings) == []


def test_saturated_logits_are_found_out_and_overcome() -> None:
    by_eps, ladder = study(saturated)
    assert by_eps["0.05"]["pgd_linf"] > by_eps["0.05"]["square"] + 20
    labels = labels_of(saturated)
    settings = search(Target(saturated), KEY, IMAGES, labels, 0.05, surrogates=(None,))
    assert (settings[0].surrogate, settings[0].logits) == (None, 1)  # the network as it was trained
    assert settings[0].vanished > 90
    best = strongest(settings)
    loss = partial(cross_entropy, temperature=best.logits)
    found = standing(pgd(saturated, KEY, IMAGES, labels, jnp.float32(0.05), steps=10, loss=loss))
    assert found == standing(pgd(linear, KEY, IMAGES, labels, jnp.float32(0.05), steps=10))
    # Nor is DLR taken in.
    of_dlr = standing(apgd(saturated, KEY, IMAGES, labels, jnp.float32(0.05), steps=10, loss=dlr))
    assert of_dlr == pytest.approx(found, abs=2)
    said = " ".join(signs_of_masking(by_eps, ladder, [s._asdict() for s in settings]))
    for words in (
        "The black box beats the white box at eps 0.05",
        "gradients mislead",
        "gradient is zero at",
        "at eps 1, where any image",
    ):
        assert words in said


def test_signs_without_a_gradient_are_found_out_and_overcome() -> None:
    by_eps, ladder = study(flat)
    labels = labels_of(flat)
    settings = search(Target(flat), KEY, IMAGES, labels, 0.05, surrogates=(None, 0.3, 1.0))
    assert [setting.vanished for setting in settings[:3]] == [100] * 3
    best = strongest(settings)
    assert best.surrogate is not None
    assert best.accuracy < settings[0].accuracy - 20
    logits_of, loss = (
        partial(flat, temperature=best.surrogate),
        partial(cross_entropy, temperature=best.logits),
    )
    after = standing(apgd(logits_of, KEY, IMAGES, labels, jnp.float32(0.05), steps=20, loss=loss))
    assert after < by_eps["0.05"]["apgd_ce"] - 20
    assert after < by_eps["0.05"]["square"] + 4
    said = signs_of_masking(by_eps, ladder, [s._asdict() for s in settings])
    assert any(sentence.startswith("The black box beats") for sentence in said)
    assert any("gradient is zero at 100.0 %" in sentence for sentence in said)


CLEAN = {"fgsm": 60.0, "pgd_linf": 50.0, "apgd_ce": 49.0, "apgd_dlr": None, "square": 55.0, "transfer": None}
RISING = {"0": (90.0, 0.1), "8/255": (50.0, 1.0), "1": (0.0, 9.0)}


def rungs(values: dict[str, tuple[float, float]]) -> dict[str, dict[str, float]]:
    return {eps: {"accuracy": accuracy, "loss": loss} for eps, (accuracy, loss) in values.items()}


@pytest.mark.parametrize(
    ("accuracies", "ladder", "words"),
    [
        ({}, {}, None),
        ({"square": 47.5}, {}, "The black box beats the white box at eps 8/255: accuracy 47.5 %, 49.0 %"),
        ({"square": 48.5}, {}, None),  # within the tolerance
        ({"transfer": 30.0}, {}, "Transfer from the twin beats the white box at eps 8/255: accuracy 30.0 %"),
        ({"fgsm": 40.0}, {}, "One step beats many at eps 8/255: accuracy 40.0 % after FGSM, 49.0 %"),
        ({"apgd_dlr": 40.0, "fgsm": 40.0}, {}, None),
        ({}, {"1": (0.5, 9.0)}, "Accuracy is 0.5 % at eps 1"),
        ({}, {"8/255": (50.0, 0.05)}, "The loss falls with eps: 0.1 at 0, 0.05 at 8/255"),
        ({}, {"8/255": (95.0, 1.0)}, "Accuracy rises with eps: 90.0 % at 0, 95.0 % at 8/255"),
        ({}, {"1": (90.0, 9.0)}, "Accuracy does not fall with eps: 90.0 % at 0, 90.0 % at 1"),
        ({}, {"1": (0.0, 0.1)}, "The loss does not grow with eps: 0.1 at 0, 0.1 at 1"),
    ],
)
def test_each_sign_has_its_sentence(accuracies: Any, ladder: Any, words: str | None) -> None:
    said = signs_of_masking({"8/255": CLEAN | accuracies}, rungs(RISING | ladder))
    assert said == [] if words is None else any(sentence.startswith(words) for sentence in said)


def test_the_slope_of_a_sign_is_that_of_tanh_cut_into_steps() -> None:
    x = jnp.linspace(-4, 4, 802)[:, None, None, None]  # one pixel an image
    quantize = smoothed_quantizer(clipped_sign)
    for t in (0.3, 1.0):
        context = Context({SURROGATE: jnp.float32(t)})
        slope = np.asarray(jax.grad(lambda x, c=context: quantize(x, c).codes.sum())(x)).ravel()
        exact = (1 - np.tanh(np.asarray(x, np.float64).ravel() / t) ** 2) / t
        assert np.abs(slope - exact).max() <= 1 / (8 * t) + 1e-4
        assert len(np.unique(slope.round(4))) == 5
        assert np.trapezoid(slope, np.asarray(x).ravel()) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("birealnet", 1), ("dorefa", 2), ("abcnet", 3), ("rbnn", 1)],
)
def test_every_quantizer_keeps_its_values_and_gets_a_wide_slope(name: str, bits: int) -> None:
    method = make_method(name, 1, bits)
    x = 2 * jax.random.normal(KEY, (4, 6, 6, 4))
    context = context_of(method, np.ones((3, 3, 4, 4)), 1.0, training=False)
    context = context._replace(schedule={**context.schedule, SURROGATE: jnp.float32(2)})
    quantize = smoothed_quantizer(method.quantize_activation)
    np.testing.assert_array_equal(quantize(x, context).value, method.quantize_activation(x, context).value)

    def total(x: Any) -> Any:
        return quantize(x, context).value.sum()

    slope = np.asarray(jax.grad(total)(x))
    assert (slope[np.abs(x) < 1] > 0).all()
    assert slope.max() < 10


def test_the_clip_lets_gradients_through() -> None:
    x = jnp.array([-3.0, 0.5, 3.0])
    np.testing.assert_array_equal(clip_straight(x), [-1, 0.5, 1])
    np.testing.assert_array_equal(jax.grad(lambda x: clip_straight(x).sum())(x), 1)
