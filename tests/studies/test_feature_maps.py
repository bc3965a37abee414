"""Where noise changes feature maps: against NumPy on the activations of small networks, and by hand."""

from pathlib import Path

import jax.numpy as jnp
import noise
import numpy as np
import pytest

from bnnjax.config.training import Config
from bnnjax.data.augment import normalize
from bnnjax.nn.layers import ACTIVATIONS, INPUTS
from bnnjax.runs.resolve import resolve
from bnnjax.runs.saved import Trained
from bnnjax.runs.setup import make_network
from bnnjax.runtime.files import write_json
from bnnjax.studies.feature_maps import change, study_features

DATASET = noise.noise()
CLEAN = DATASET.test.images[:5]
NOISY = np.clip(CLEAN.astype(int) + np.random.default_rng(1).integers(-30, 31, CLEAN.shape), 0, 255).astype(
    np.uint8
)
ABOUT = {"label": "tiny", "corruption": "made_up", "severity": 2}


def network(method: str) -> Trained:
    """An untrained network."""
    config = resolve(Config(model="resnet_tiny", method=method, epochs=2, batch_size=8))
    _, states = noise.trained(DATASET, 0, method=method)
    return Trained(
        Path("runs/tiny"), config, make_network(config, DATASET), states[0].params, states[0].batch_stats
    )


@pytest.fixture(scope="module")
def binary() -> Trained:
    return network("irnet")


def layers(trained: Trained, images: np.ndarray, collection: str) -> dict[str, tuple[np.ndarray, ...]]:
    shown = normalize(jnp.asarray(images), DATASET.mean, DATASET.std, jnp.float32)
    arrays = trained.params, trained.batch_stats
    found = trained.network.infer(*arrays, shown, (collection,))[1].more[collection]
    return {name: tuple(map(np.asarray, x if isinstance(x, tuple) else (x,))) for name, x in found.items()}


def test_it_is_the_mean_over_images_and_channels_whatever_the_batches(
    binary: Trained, tmp_path: Path
) -> None:
    before, after = (layers(binary, images, ACTIVATIONS) for images in (CLEAN, NOISY))
    whole = study_features(binary, DATASET, CLEAN, NOISY, **ABOUT)
    parts = study_features(binary, DATASET, CLEAN, NOISY, **ABOUT, batch_size=2)  # the last is half full
    assert {key: whole[key] for key in whole if key != "units"} == ABOUT | {"run": "runs/tiny", "images": 5}
    assert whole["units"].keys() == before.keys()
    assert any(unit["flips_percent"] > 0 for unit in whole["units"].values())
    for record in (whole, parts):
        for name, unit in record["units"].items():
            (x, codes), (noisy, noisy_codes) = before[name], after[name]
            difference = np.abs(noisy - x).sum(axis=(0, 3)) / (5 * x.shape[3])
            np.testing.assert_allclose(unit["difference"], difference, rtol=1e-4, atol=1e-6)
            relative = difference / np.abs(x).mean()
            np.testing.assert_allclose(unit["relative_difference"], relative, rtol=1e-4, atol=1e-6)
            flips = 100 * np.count_nonzero(codes != noisy_codes) / codes.size
            assert unit["flips_percent"] == pytest.approx(flips, rel=1e-4)
    write_json(tmp_path / "features.json", whole)


def test_images_without_noise_change_nothing(binary: Trained) -> None:
    units = study_features(binary, DATASET, CLEAN, CLEAN, **ABOUT)["units"]
    assert all(not np.any(unit["difference"]) and unit["flips_percent"] == 0 for unit in units.values())


def test_a_full_precision_network_has_maps_of_all_units_and_no_flips() -> None:
    full = network("fp")
    before, after = (layers(full, images, INPUTS) for images in (CLEAN, NOISY))
    units = study_features(full, DATASET, CLEAN, NOISY, **ABOUT)["units"]
    assert units.keys() == before.keys() > {"stem", "stage1_block1/conv1"}
    for name, unit in units.items():
        assert unit["flips_percent"] is None
        x, noisy = before[name][0], after[name][0]
        if x.ndim == 2:
            x, noisy = x[:, None, None], noisy[:, None, None]
        np.testing.assert_allclose(unit["difference"], np.abs(noisy - x).mean((0, 3)), rtol=1e-3, atol=1e-6)


def test_flips_and_sums_by_hand() -> None:
    """Of four codes of the first image one flips, of the second two, and the third does not count."""
    clean = jnp.array([[[[1.0, -2.0], [3.0, -4.0]]], [[[1.0, 1.0], [1.0, 1.0]]], [[[5.0, 5.0], [5.0, 5.0]]]])
    noisy = jnp.array(
        [[[[1.0, 2.0], [3.0, -6.0]]], [[[-1.0, 1.0], [-1.0, 1.0]]], [[[-5.0, 0.0], [0.0, 0.0]]]]
    )
    found = change(clean, noisy, (jnp.sign(clean), jnp.sign(noisy)), jnp.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(found.difference, [[(4 + 2) / 2, (2 + 2) / 2]])
    assert float(found.clean) == 2.5 + 1.0
    assert float(found.flips) == 0.25 + 0.5
    dense = change(clean[:, 0, 0], noisy[:, 0, 0], None, jnp.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(dense.difference, [[2.0]])
    assert (float(dense.clean), dense.flips) == (1.5, None)


@pytest.mark.parametrize(
    ("clean", "noisy", "size", "sentence"),
    [
        (CLEAN, NOISY[:4], 2, r"differ in shape: \(5, 8, 8, 3\) and \(4, 8, 8, 3\)"),
        (CLEAN / 255, NOISY, 2, r"clean images must be uint8 \[n, h, w, c\], got float64"),
        (CLEAN, NOISY[0], 2, r"noisy images must be uint8 \[n, h, w, c\], got uint8 \(8, 8, 3\)"),
        (CLEAN[:0], NOISY[:0], 2, "clean images must be"),
        (CLEAN, NOISY, 0, "batch_size must be at least 1, got 0"),
    ],
)
def test_wrong_images_are_refused(binary: Trained, clean, noisy, size, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        study_features(binary, DATASET, clean, noisy, **ABOUT, batch_size=size)
