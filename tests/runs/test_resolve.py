"""Where each value of a run comes from."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from bnnjax.benchmarks.steps import random_images
from bnnjax.config.presets import PRESETS, defaults_for
from bnnjax.config.recipe import COMMON_RECIPES, Recipe
from bnnjax.config.resolved import ResolvedConfig
from bnnjax.config.training import Config
from bnnjax.methods import make_method
from bnnjax.native import library
from bnnjax.runs.resolve import resolve
from bnnjax.runs.setup import make_network


def recipe_in(config: ResolvedConfig) -> Recipe:
    return Recipe(**{name: getattr(config, name) for name in vars(Recipe())})


@pytest.mark.parametrize(
    ("dataset", "recipe"),
    [
        (
            "cifar10",
            Recipe(optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, batch_size=128, epochs=400),
        ),
        ("digits", Recipe(optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, batch_size=16, epochs=5)),
        ("imagenet2012", Recipe(learning_rate=0.1, weight_decay=1e-4, batch_size=256, epochs=100)),
        ("emnist/digits", COMMON_RECIPES["cifar10"]),
    ],
)
def test_all_methods_share_the_recipe_of_the_data_set(dataset: str, recipe: Recipe) -> None:
    for method in ("irnet", "bnn"):
        config = resolve(Config(dataset=dataset, method=method))  # type: ignore[arg-type]
        assert recipe_in(config) == config.common == recipe


def test_a_flag_comes_before_the_methods_own_recipe_and_that_before_the_data_sets() -> None:
    config = resolve(Config(method="bnn", recipe="published", epochs=2, weight_decay=0.0))
    own = make_method("bnn").recipe
    assert own.batch_size != COMMON_RECIPES["cifar10"].batch_size
    assert recipe_in(config) == dataclasses.replace(own, epochs=2, weight_decay=0.0)
    assert config.common == COMMON_RECIPES["cifar10"]


def test_a_flag_comes_before_the_preset_and_that_before_a_recipe() -> None:
    defaults = defaults_for(["--preset", "birealnet"])
    config = resolve(defaults.with_values(batch_size=64, recipe="published", method="bnn"))
    assert recipe_in(config) == dataclasses.replace(PRESETS["birealnet"].recipe, batch_size=64)
    assert (config.decay, config.label_smoothing) == ("linear", 0.1)


def test_what_a_published_recipe_makes_idle_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^momentum is for optimizer sgd; got 0.5 with adamw$"):
        resolve(Config(method="bnn", recipe="published", momentum=0.5))


@pytest.mark.parametrize(
    ("scaling", "base", "peak"),
    [
        ("none", None, 0.1),
        ("linear", None, 0.4),
        ("sqrt", None, 0.2),
        ("linear", 256, 0.2),
    ],
)
def test_the_learning_rate_goes_with_the_batch_from_the_recipes_on(
    scaling: Any, base: int | None, peak: float
) -> None:
    config = resolve(Config(batch_size=512, scale_learning_rate=scaling, base_batch_size=base))
    assert config.learning_rate == 0.1
    assert config.peak_learning_rate == pytest.approx(peak)


def test_the_learning_rate_of_a_preset_goes_from_its_own_batch_on() -> None:
    defaults = defaults_for(["--preset", "irnet"])
    config = resolve(defaults.with_values(batch_size=256, scale_learning_rate="linear"))
    assert config.base_batch_size == 2048
    assert config.peak_learning_rate == pytest.approx(0.1)  # 0.8 at 2048


def test_bits_structure_and_place_are_those_of_method_model_and_run() -> None:
    config = resolve(Config(method="dorefa", abits=2, model="vgg_small", seed=3))
    assert (config.wbits, config.abits, config.structure) == (1, 2, "plain")
    assert config.workdir == Path("runs/cifar10-vgg_small-dorefa-none-seed3")
    assert resolve(Config(method="irnet")).structure == "bireal"
    assert resolve(Config(method="fp")).structure == "plain"
    assert resolve(Config(structure="plain", workdir=Path("w"))).workdir == Path("w")
    assert resolve(Config(structure="plain")).structure == "plain"


def test_one_network_has_one_name() -> None:
    assert resolve(Config(method="bwhn")).method == "bwnh"
    assert resolve(Config(method="bwhn")).workdir == Path("runs/cifar10-resnet20-bwnh-none-seed0")
    for dataset, model in (("imagenet2012", "resnet18_imagenet"), ("cifar10", "resnet18")):
        config = resolve(Config(dataset=dataset, model="resnet18"))
        assert config.model == model
        assert model in config.workdir.name


def test_a_resolved_configuration_stays_as_it_is() -> None:
    config = resolve(Config(scale_learning_rate="linear", batch_size=64))
    assert resolve(config) is config
    assert resolve(config.with_values(seed=1)) == config.with_values(seed=1)


def test_what_resolving_fills_in_has_no_default_that_could_slip_through() -> None:
    fields = dataclasses.fields(ResolvedConfig)
    needed = {f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING}
    bits = {"wbits", "abits"}
    assert needed == {*vars(Recipe()), *bits, "common", "method", "structure", "workdir"}
    with pytest.raises(TypeError, match="missing 11 required"):
        ResolvedConfig()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, "native"),
        ({"kernels": "native"}, "native"),
        ({"kernels": "xla"}, "xla"),
        ({"method": "dorefa", "wbits": 2, "abits": 2}, "xla"),
        ({"method": "irnet", "abits": 32}, "xla"),
        ({"precision": "bfloat16"}, "xla"),
    ],
)
def test_kernels_are_native_for_signs_in_float32(
    fields: dict[str, Any], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "kernels", lambda: "scalar")
    config = resolve(Config(**fields))
    assert config.kernels == found
    network = make_network(config, random_images(1))
    assert network.method.is_native == (found == "native")


def test_without_the_library_kernels_are_xlas_and_native_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "kernels", lambda: "xla")
    assert resolve(Config()).kernels == "xla"
    with pytest.raises(
        ValueError, match=r"^kernels native are not there: they need a CPU and a C compiler; "
    ):
        resolve(Config(kernels="native"))


@pytest.mark.parametrize("fields", [{"method": "dorefa", "abits": 2}, {"precision": "bfloat16"}])
def test_native_kernels_are_refused_for_what_they_do_not_compute(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^kernels native are for codes of \+-1 in float32; method .* has "):
        resolve(Config(kernels="native", **fields))
