"""`bnnjax.load`: a run's network as a function of images."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny_experiment
from pages import Page
from processes import Run, modules_loaded
from runs import ROOT

import bnnjax
import bnnjax.runs.inference
from bnnjax.config.training import Config
from bnnjax.data import Dataset
from bnnjax.runs.inference import TrainedNetwork
from bnnjax.runs.saved import predictor, read_config, read_trained

HEAVY = "numpy jax flax orbax tensorflow_datasets matplotlib rich tyro bnnjax.data bnnjax.runs"


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return tiny_experiment.load(Config(dataset="digits"))


@pytest.fixture(scope="module")
def network(reference: Path) -> TrainedNetwork:
    """Of a run whose data set no loader has: all that is needed is in its directory."""
    return bnnjax.load(str(reference))


def test_the_logits_are_those_of_the_runs_own_test(
    network: TrainedNetwork, reference: Path, dataset: Dataset
) -> None:
    images, labels = dataset.test
    trained, config = read_trained(reference, dataset), read_config(reference)
    logits = network(images)
    assert (logits.dtype, logits.shape) == (np.float32, (20, 10))
    np.testing.assert_array_equal(logits, predictor(trained, dataset, config.batch_size)(images))
    normalized = (images / 255 - np.array(dataset.mean)) / np.array(dataset.std)
    plain = trained.network.logits(trained.params, trained.batch_stats, normalized.astype(np.float32))
    np.testing.assert_allclose(logits, plain, rtol=1e-4, atol=1e-4)
    summary = json.loads((reference / "summary.json").read_text())
    assert 100 * np.mean(logits.argmax(axis=1) == labels) == pytest.approx(summary["test_accuracy"])


def test_any_number_of_images_takes_few_programs(network: TrainedNetwork, dataset: Dataset) -> None:
    images = dataset.train.images[:40]
    everything = network(images)
    for count in range(1, 40, 3):
        np.testing.assert_allclose(network(images[:count]), everything[:count], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(
            network(jax.numpy.asarray(images[:count])), everything[:count], rtol=1e-4, atol=1e-4
        )
    assert network(images[:0]).shape == (0, 10)
    assert {*network._compiled} == {1, 4, 8}  # 8 is the run's batch size; of 2 nobody asked


def test_predictions_are_names(network: TrainedNetwork, dataset: Dataset) -> None:
    images = dataset.test.images
    assert network.classes == dataset.class_names
    names = network.predict(images)
    assert names.tolist() == [dataset.class_names[place] for place in network(images).argmax(axis=1)]
    assert network.predict(images[:0]).tolist() == []


@pytest.mark.parametrize(
    ("images", "given"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), r"float32 \[2, 8, 8, 3\]"),
        (np.zeros((2, 8, 8, 3), np.int32), r"int32 \[2, 8, 8, 3\]"),
        (np.zeros((8, 8, 3), np.uint8), r"uint8 \[8, 8, 3\]"),
        (np.zeros((2, 8, 8, 1), np.uint8), r"uint8 \[2, 8, 8, 1\]"),
        (np.zeros((2, 9, 8, 3), np.uint8), r"uint8 \[2, 9, 8, 3\]"),
        ([[1, 2, 3]], "a list"),
    ],
)
def test_other_images_are_refused(network: TrainedNetwork, images: Any, given: str) -> None:
    for call in (network, network.predict):
        with pytest.raises(ValueError, match=rf"^images must be uint8 \[batch, 8, 8, 3\]; got {given}$"):
            call(images)


def test_it_shows_what_it_is(network: TrainedNetwork, reference: Path) -> None:
    accuracy = json.loads((reference / "summary.json").read_text())["test_accuracy"]
    rows = dict(Page(network._repr_html_()).rows)
    assert rows["run"] == str(reference)
    assert rows["method"] == "irnet, 1/1 bits"
    assert rows["images"] == "uint8 [n, 8, 8, 3]"
    assert rows["classes"] == "10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert rows["test accuracy"] == f"{accuracy:.2f}%"
    assert repr(network).startswith(
        f"TrainedNetwork(run {reference}; network resnet_tiny, bireal; method irnet"
    )
    assert "\n" not in repr(network)
    assert network.config == read_config(reference)


def test_a_run_of_an_earlier_version_needs_its_data(digits_dir: Path, tmp_path: Path) -> None:
    old = shutil.copytree(ROOT / "tests" / "old_run", tmp_path / "run")
    network = bnnjax.load(old, str(digits_dir))
    assert (network.image_shape, len(network.classes)) == ((32, 32, 3), 10)
    record = json.loads((old / "config.json").read_text())
    record["data"]["digest"] = "0" * 64
    (old / "config.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="belongs to a run on other data: sha256 000000000000 there"):
        bnnjax.load(old, digits_dir)
    with pytest.raises(ValueError, match="the data directory data does not exist"):
        bnnjax.load(old)


def test_a_directory_without_a_run_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=f"^{tmp_path} is not the directory of a run: it has no config.json$"
    ):
        bnnjax.load(tmp_path)


def test_a_network_may_be_read_while_its_run_goes_on(finished: Path) -> None:
    (finished / "summary.json").unlink()
    network = bnnjax.load(finished)
    assert network.test_accuracy is None
    assert dict(Page(network._repr_html_()).rows)["test accuracy"] == "–"


def test_importing_the_package_stays_light(run: Run) -> None:
    assert modules_loaded(run, "import bnnjax; bnnjax.load", HEAVY) == []
