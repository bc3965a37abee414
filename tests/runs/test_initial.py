"""Initial weights: those from another network, and those that a method prepares."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noise import noise

from bnnjax.config.resolved import ResolvedConfig
from bnnjax.config.training import Config
from bnnjax.data import Augmentation, Dataset
from bnnjax.methods import Context, make_method
from bnnjax.models import make_model
from bnnjax.models.network import Network
from bnnjax.nn.layers import PREPARED, BinaryConv, BinaryDense
from bnnjax.runs.initial import EXAMPLES, Arrays, first_arrays, full_precision, path_within, take
from bnnjax.runs.resolve import resolve
from bnnjax.runs.saved import Trained
from bnnjax.runs.setup import Setup, make_setup


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return noise(EXAMPLES + 50, Augmentation(crop_padding=1, flip=True))


def configured(dataset: Dataset, method: str, **fields: Any) -> tuple[ResolvedConfig, Setup]:
    given: dict[str, Any] = {"model": "resnet_tiny", "structure": "bireal"}
    config = resolve(Config(method=method, batch_size=8, epochs=2, **(given | fields)))
    return config, make_setup(config, dataset)


def trained(dataset: Dataset, method: str, **fields: Any) -> Trained:
    """An untrained network, with numbers that identify its arrays."""
    config, setup = configured(dataset, method, **fields)
    shapes = jax.eval_shape(setup.network.init, jax.random.key(0))
    rng = np.random.default_rng(5)
    arrays = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.5, 2, leaf.shape), jnp.float32), shapes)
    return Trained(Path("elsewhere"), config, setup.network, *arrays)


def flat(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.parametrize("method", ["irnet", "rbnn", "lqnet", "bwn", "fp"])
def test_kernels_norms_and_classifier_are_taken_and_the_rest_is_initialized(
    dataset: Dataset, method: str
) -> None:
    source = trained(dataset, "fp")
    config, setup = configured(dataset, method)
    network, seconds = first_arrays(config, setup.network, dataset, source, jax.random.key(1))
    assert seconds is None
    usual = Arrays(*jax.jit(setup.network.init)(jax.random.key(1)))
    assert jax.tree.structure(network) == jax.tree.structure(usual)
    project = setup.network.method.project_latent or (lambda latent: latent)
    for new, old in zip(network, (source.params, source.batch_stats), strict=True):
        theirs = flat(old)
        for name, leaf in flat(new).items():
            if "memory" in name or "learned" in name:
                continue
            if name.endswith("/latent"):
                expected = project(jnp.asarray(theirs[name.replace("/latent", "/kernel")]))
            else:
                expected = theirs[name]
            np.testing.assert_allclose(leaf, expected, rtol=1e-6, err_msg=name)


def test_what_a_method_learns_begins_from_the_kernels_that_were_taken(dataset: Dataset) -> None:
    source = trained(dataset, "fp")
    config, setup = configured(dataset, "rbnn")
    params = flat(first_arrays(config, setup.network, dataset, source, jax.random.key(1))[0].params)
    kernels = flat(source.params)
    scales = [name for name in params if name.endswith("learned/scale")]
    assert len(scales) == 4
    for name in scales:
        kernel = kernels[name.replace("learned/scale", "kernel")]
        np.testing.assert_allclose(params[name], np.abs(kernel).mean((0, 1, 2)), rtol=1e-5)


def test_of_a_run_of_the_same_method_everything_is_taken(dataset: Dataset) -> None:
    source = trained(dataset, "rbnn")
    config, setup = configured(dataset, "rbnn")
    taken = take(config, setup.network, source)
    assert flat(taken.params).keys() == flat(source.params).keys()
    assert flat(taken.batch_stats).keys() == flat(source.batch_stats).keys()
    config, setup = configured(dataset, "lqnet")
    assert not [
        name for part in take(config, setup.network, source) for name in flat(part) if "memory" in name
    ]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"model": "vgg_tiny", "structure": "plain"},
            "^the pretrained run elsewhere has model vgg_tiny; resnet_tiny",
        ),
        ({"structure": "plain"}, "^the pretrained run elsewhere has structure plain; bireal is needed$"),
    ],
)
def test_another_network_is_refused(dataset: Dataset, fields: dict[str, Any], sentence: str) -> None:
    config, setup = configured(dataset, "irnet")
    with pytest.raises(ValueError, match=sentence):
        take(config, setup.network, trained(dataset, "fp", **fields))


def test_an_array_of_another_shape_is_named(dataset: Dataset) -> None:
    source = trained(dataset, "fp")
    stem = {**source.params["stem"], "conv": {"kernel": jnp.zeros((3, 3, 1, 8))}}
    config, setup = configured(dataset, "irnet")
    with pytest.raises(
        ValueError, match=r"network's stem/conv/kernel has shape \(3, 3, 1, 8\); \(3, 3, 3, 8\) is"
    ):
        take(config, setup.network, source._replace(params={**source.params, "stem": stem}))


def test_the_full_precision_run_keeps_model_recipe_and_seed(dataset: Dataset) -> None:
    asked = Config(method="bwnh", epochs=3, seed=4, constraint="l1inf", latent_clip=1.0, workdir=Path("w"))
    config = resolve(asked.with_values(teacher=Path("t")))
    twin = full_precision(config)
    changed = {name for name, value in vars(twin).items() if value != vars(config)[name]}
    assert changed == {"method", "wbits", "constraint", "latent_clip", "teacher", "workdir"}
    assert (twin.method, twin.constraint, twin.workdir) == ("fp", "none", Path("w/pretrained"))
    assert (twin.structure, twin.teacher) == ("bireal", None)


class Two(nn.Module):
    """A convolution and a dense layer."""

    method: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y, _ = BinaryConv(5, self.method, stride=2, name="first")(x, Context(), True)
        y, _ = BinaryDense(3, self.method, name="second")(jax.nn.relu(y).reshape(len(y), -1), Context(), True)
        return y


def test_each_layer_is_prepared_from_what_the_prepared_layers_before_it_give() -> None:
    def prepare(latent: jax.Array, patches: jax.Array, context: Context) -> jax.Array:
        return latent + jnp.mean(patches, axis=0).reshape(*latent.shape[:-1], 1)

    method = replace(make_method("bwnh"), prepare=prepare)
    model = Two(method)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4, 4, 2)), jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    plain = model.apply(variables, x)
    params = variables["params"]
    _, filled = jax.jit(lambda v: model.apply(v, x, mutable=[PREPARED]))({"params": params})
    first = filled[PREPARED]["first"]["latent"]
    padded = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = [padded[:, p : p + 3, q : q + 3] for p in (0, 2) for q in (0, 2)]
    mean = np.mean([window.mean(0) for window in windows], axis=0)
    np.testing.assert_allclose(first, params["first"]["latent"] + mean[..., None], rtol=1e-5, atol=1e-6)
    y, _ = BinaryConv(5, method, stride=2).apply({"params": {"latent": first}}, x, Context())
    hidden = jax.nn.relu(y).reshape(6, -1)
    expected = params["second"]["latent"] + hidden.mean(0)[:, None]
    np.testing.assert_allclose(filled[PREPARED]["second"]["latent"], expected, rtol=1e-4, atol=1e-5)
    # A forward pass for anything else, training or not, prepares nothing.
    np.testing.assert_array_equal(model.apply(variables, x, mutable=["batch_stats"])[0], plain)


def test_hashed_layers_give_nearly_what_the_pretrained_ones_gave(dataset: Dataset) -> None:
    source = trained(dataset, "fp")
    params = jax.tree.map(
        lambda leaf: leaf if leaf.ndim < 4 else jax.random.normal(jax.random.key(leaf.size), leaf.shape),
        source.params,
    )
    source = source._replace(params=params)
    config, setup = configured(dataset, "bwnh")
    network, seconds = first_arrays(config, setup.network, dataset, source, jax.random.key(1))
    assert seconds is not None
    assert seconds > 0
    again, _ = first_arrays(config, setup.network, dataset, source, jax.random.key(2))
    ours, theirs, same = flat(network.params), flat(source.params), flat(again.params)
    latents = [name for name in ours if name.endswith("latent")]
    assert len(latents) == 4
    for name, leaf in ours.items():
        np.testing.assert_array_equal(leaf, same[name])
        if name not in latents:
            np.testing.assert_array_equal(leaf, theirs[name])
            continue
        scale = np.abs(leaf).mean((0, 1, 2))
        np.testing.assert_allclose(np.abs(leaf), np.broadcast_to(scale, leaf.shape), rtol=1e-5)
        agree = np.mean(np.sign(leaf) == np.sign(theirs[name.replace("latent", "kernel")]))
        assert 0.6 < agree < 1  # most signs are those of the kernel, and some were flipped
    other, _ = first_arrays(config.with_values(seed=1), setup.network, dataset, source, jax.random.key(1))
    assert any(not np.array_equal(flat(other.params)[name], ours[name]) for name in latents)


def test_only_latent_kernels_are_prepared(dataset: Dataset) -> None:
    method = replace(make_method("bwnh"), prepare=lambda latent, patches, context: 0 * latent)
    network = Network(make_model("resnet_tiny", method, classes=10, axis_name="data"), method, (8, 8, 3))
    params, batch_stats = jax.jit(network.init)(jax.random.key(0))
    prepared = jax.jit(network.prepare)(params, batch_stats, jnp.ones((4, 8, 8, 3)))
    assert jax.tree.structure(prepared) == jax.tree.structure(params)
    for name, leaf in flat(prepared).items():
        np.testing.assert_array_equal(leaf, 0 * leaf if name.endswith("latent") else flat(params)[name])


def test_paths_in_a_summary_are_relative_inside_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_within(Path("run"), tmp_path / "run" / "pretrained") == "pretrained"
    assert path_within(tmp_path / "run", Path("run/pretrained")) == "pretrained"
    assert path_within(Path("run"), Path("other")) == "other"
