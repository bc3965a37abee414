"""`bnnjax predict`: what a network sees in picture files."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_experiment
from PIL import Image
from processes import Run
from scipy.special import softmax

import bnnjax
from bnnjax.config.training import Config
from bnnjax.data.folder.decode import with_channels
from bnnjax.runs.inference import TrainedNetwork
from bnnjax.runs.pictures import answers, read_pictures


@pytest.fixture(scope="module")
def network(reference: Path) -> TrainedNetwork:
    return bnnjax.load(reference)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return tiny_experiment.load(Config(dataset="digits")).test.images[:3]


@pytest.fixture
def pictures(images: np.ndarray, tmp_path: Path) -> list[Path]:
    """The images as files, each in another format and eight times as large."""
    paths = [tmp_path / name for name in ("a.png", "b.bmp", "c.tif")]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image.repeat(8, 0).repeat(8, 1)).save(path)
    return paths


def test_pictures_are_brought_to_the_networks_size(
    network: TrainedNetwork, images: np.ndarray, pictures: list[Path]
) -> None:
    found = read_pictures(network, pictures, "crop")
    assert (found.dtype, found.shape) == (np.uint8, images.shape)
    # Each is closest to its own image, though neighbouring pixels are independent noise.
    apart = np.abs(found[:, None].astype(float) - images).mean(axis=(2, 3, 4))
    assert (np.diag(apart) < 20).all()
    np.testing.assert_array_equal(apart.argmin(axis=1), range(3))


def test_an_answer_has_the_likeliest_classes_and_their_probabilities(
    network: TrainedNetwork, images: np.ndarray, pictures: list[Path]
) -> None:
    shares = softmax(network(images), axis=1)
    for top in (1, 4, 99):
        found = answers(network, pictures, images, top)
        assert [answer.picture for answer in found] == pictures
        for answer, share in zip(found, shares, strict=True):
            names = [network.classes[c] for c in np.argsort(-share)[:top]]
            assert list(answer.likeliest) == names
            np.testing.assert_allclose(list(answer.likeliest.values()), np.sort(share)[::-1][:top], rtol=1e-5)


def test_colours_become_their_luma_and_grey_becomes_colours() -> None:
    red, grey = np.full((2, 2, 3), (255, 0, 0), np.uint8), np.full((2, 2, 1), 7, np.uint8)
    np.testing.assert_array_equal(with_channels(red, 1), np.full((2, 2, 1), 76))
    np.testing.assert_array_equal(with_channels(grey, 3), np.full((2, 2, 3), 7))
    assert with_channels(red, 3) is red


def test_a_picture_that_cannot_be_read_is_named(network: TrainedNetwork, pictures: list[Path]) -> None:
    for path in (pictures[1].with_name("missing.png"), Path(__file__)):
        with pytest.raises(ValueError, match=rf"^{path} cannot be read: "):
            read_pictures(network, [pictures[0], path], "crop")


def test_the_command_prints_a_line_for_each_picture(
    run: Run, reference: Path, network: TrainedNetwork, pictures: list[Path]
) -> None:
    expected = answers(network, pictures, read_pictures(network, pictures, "pad"), 2)
    done = run("-m", "bnnjax", "predict", reference, *pictures, "--top=2", "--fit=pad", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    for line, answer in zip(done.stdout.splitlines(), expected, strict=True):
        record = json.loads(line)
        assert record["picture"] == str(answer.picture)
        assert record["classes"] == pytest.approx(answer.likeliest, rel=1e-4)
