"""Two small trained networks under attack, one the twin of the other."""

import json
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from bnnjax.data import Dataset
from bnnjax.data.augment import normalize, normalize_floats
from bnnjax.report.robustness.attacks import attacks_table
from bnnjax.robustness.attacks import Target
from bnnjax.runs.saved import Trained
from bnnjax.studies.attacks import LADDER, attack_run, attackable, chosen_images, eps_text, wilson


@pytest.fixture(scope="module")
def record(runs: dict[str, Trained], dataset: Dataset) -> dict[str, Any]:
    sizes: dict[str, Any] = {"eps": (8 / 255, 0.1), "steps": 4, "queries": 10, "batch_size": 8}
    return attack_run(runs["xnor"], dataset, images=12, twin=runs["fp"], **sizes)


@pytest.mark.parametrize("name", ["xnor", "fp"])
def test_the_forward_pass_is_the_networks_own(name: str, runs: dict[str, Trained], dataset: Dataset) -> None:
    trained = runs[name]
    network, arrays = trained.network, (trained.params, trained.batch_stats)
    images = jnp.asarray(chosen_images(dataset, len(dataset.test.labels))[0])

    def inputs_of(images: Any) -> Any:
        return normalize_floats(images, dataset.mean, dataset.std, jnp.float32)

    # 255 (x / 255) is x.
    stored = normalize(dataset.test.images, dataset.mean, dataset.std, jnp.float32)
    np.testing.assert_array_equal(inputs_of(images), stored)
    target = attackable(trained, dataset)
    logits_of = jax.jit(lambda images, temperature: target.at(temperature)(images))
    own_logits = jax.jit(lambda x: network.logits(*arrays, inputs_of(x)))
    for temperature in (0.3, 3.0):
        np.testing.assert_array_equal(logits_of(images, jnp.float32(temperature)), own_logits(images))

    def slope(temperature: Any) -> Any:
        return jax.grad(lambda x: logits_of(x, temperature)[:, 0].sum())(images)

    own, narrow, wide = slope(None), slope(0.3), slope(3.0)
    assert (np.asarray(narrow) != np.asarray(wide)).any() == (name == "xnor")
    assert (np.asarray(own) != np.asarray(wide)).any() == (name == "xnor")
    assert (np.asarray(wide) != 0).any()


def test_networks_of_one_architecture_have_one_program(runs: dict[str, Trained], dataset: Dataset) -> None:
    """So that the second finds it in the compilation cache."""
    first = runs["xnor"]
    network = first.network.with_method(first.network.method)
    second = first._replace(network=network, params=jax.tree.map(lambda leaf: leaf + 1, first.params))
    images = jnp.asarray(chosen_images(dataset, 2)[0])

    @jax.jit
    def slope(target: Target, images: Any) -> Any:
        return jax.grad(lambda x: target(x)[:, 0].sum())(images)

    programs = [slope.lower(attackable(each, dataset).at(1.0), images).as_text() for each in (first, second)]
    assert programs[0] == programs[1]


@pytest.mark.slow
@pytest.mark.timeout(300)  # compiles six attacks on two networks
def test_the_worst_case_is_below_every_attack(record: dict[str, Any]) -> None:
    assert json.loads(json.dumps(record)) == record
    assert list(record["eps"]) == ["8/255", "0.1"]
    for found in record["eps"].values():
        names = ("clean", "fgsm", "pgd_linf", "apgd_ce", "apgd_dlr", "square", "transfer")
        assert all(found["worst_case"] <= found[name] <= 100 for name in names)
        low, high = found["worst_case_interval"]
        assert low <= found["worst_case"] <= high
        assert found["clean"] >= max(found[name] for name in names)
    assert list(record["ladder"]) == [eps_text(eps) for eps in LADDER]
    assert record["ladder"]["0"]["accuracy"] == record["eps"]["8/255"]["clean"]
    assert len(record["temperature"]["searched"]) == 12
    assert record["temperature"]["chosen"] in record["temperature"]["searched"]
    assert record["pgd_l2"].keys() == {"0.5"}


@pytest.mark.slow
@pytest.mark.timeout(300)  # compiles six attacks on two networks
def test_the_record_is_shown(record: dict[str, Any]) -> None:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(attacks_table(record))
    for words in ("APGD-DLR", "8/255", "L2 0.5", "12 test images, 4 steps, 10 queries"):
        assert words in capture.get()


def test_images_are_spread_over_the_classes(dataset: Dataset) -> None:
    images, labels = chosen_images(dataset, 10)
    assert sorted(labels) == list(range(10))
    assert (images.min() >= 0, images.max() <= 1, images.dtype) == (True, True, np.float32)


def test_images_of_one_class_cannot_be_attacked(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match=r"attacks need 2 classes or more; tiny has 1"):
        chosen_images(replace(dataset, class_names=("all",)), 10)


@pytest.mark.parametrize(("successes", "trials"), [(0, 12), (7, 12), (12, 12), (5000, 10_000)])
def test_the_interval_is_wilsons(successes: int, trials: int) -> None:
    """Its ends are the p that are 1.96 of their own standard deviations from the share."""
    share, z = successes / trials, NormalDist().inv_cdf(0.975)
    ends = np.roots([1 + z**2 / trials, -(2 * share + z**2 / trials), share**2])
    np.testing.assert_allclose(wilson(successes, trials), 100 * np.sort(ends), atol=1e-9)


@pytest.mark.parametrize(("eps", "text"), [(0.0, "0"), (8 / 255, "8/255"), (1.0, "1"), (0.1, "0.1")])
def test_sizes_are_said_in_levels(eps: float, text: str) -> None:
    assert eps_text(eps) == text


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"images": 21}, "images is 21; allowed is 1 to 20, the test images of tiny"),
        ({"eps": (0.0,)}, r"eps is \(0.0,\); allowed are one or more numbers above 0 and up to 1"),
        ({"eps": ()}, r"eps is \(\); allowed"),
        ({"l2": (-1.0,)}, r"l2 is \(-1.0,\); allowed are numbers above 0"),
        ({"steps": 0}, "steps must be at least 1; got 0"),
        ({"queries": 0}, "queries must be at least 1; got 0"),
    ],
)
def test_what_is_out_of_range_is_refused(
    given: dict[str, Any], sentence: str, runs: dict[str, Trained], dataset: Dataset
) -> None:
    with pytest.raises(ValueError, match=sentence):
        attack_run(runs["fp"], dataset, **{"images": 4, **given})
