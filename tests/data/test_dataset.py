import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnjax.data.augment import Augmentation
from bnnjax.data.dataset import (
    DataError,
    Dataset,
    Split,
    assemble,
    channel_moments,
    digest_of,
    spread_over_classes,
)


def noise_split(n: int, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8), rng.integers(0, 5, n, dtype=np.int32))


def assembled(validation_examples: int = 20, train_examples: int | None = None) -> Dataset:
    return assemble(
        name="noise",
        class_names=tuple("abcde"),
        train=noise_split(100),
        test=noise_split(30, seed=1),
        validation_examples=validation_examples,
        train_examples=train_examples,
        augmentation=Augmentation(),
        source="memory",
    )


@given(labels=st.lists(st.integers(0, 5), min_size=2, max_size=80), data=st.data())
def test_the_held_out_share_of_every_class_is_the_whole_share_rounded(
    labels: list[int], data: st.DataObject
) -> None:
    examples = data.draw(st.integers(1, len(labels) - 1))
    array = np.array(labels, dtype=np.int32)
    marked = spread_over_classes(array, examples)
    assert marked.sum() == examples
    for label in set(labels):
        exact = labels.count(label) * examples / len(labels)
        assert abs(marked[array == label].sum() - exact) < 1


def test_the_held_out_images_are_evenly_spaced_within_their_class() -> None:
    labels = np.repeat(np.arange(2), 10)
    np.testing.assert_array_equal(np.flatnonzero(spread_over_classes(labels, 4)), [2, 7, 12, 17])


def test_train_and_validation_share_out_the_stored_training_images() -> None:
    stored, dataset = noise_split(100), assembled()
    assert len(dataset.validation.labels) == 20
    assert len(dataset.train.labels) == 80
    pairs = [
        sorted((image.tobytes(), int(label)) for split in splits for image, label in zip(*split, strict=True))
        for splits in ([stored], [dataset.train, dataset.validation])
    ]
    assert pairs[0] == pairs[1]
    np.testing.assert_array_equal(dataset.test.images, noise_split(30, seed=1).images)


def test_fewer_training_images_are_the_first_and_leave_the_other_splits_alone() -> None:
    full, few = assembled(), assembled(train_examples=7)
    np.testing.assert_array_equal(few.train.images, full.train.images[:7])
    np.testing.assert_array_equal(few.validation.images, full.validation.images)
    np.testing.assert_array_equal(few.test.images, full.test.images)
    assert few.digest != full.digest


def test_moments_are_those_of_the_training_images() -> None:
    dataset = assembled()
    pixels = dataset.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(dataset.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, pixels.std(axis=(0, 1, 2)), rtol=1e-12)


def test_moments_over_more_images_than_one_block() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2500, 2, 2, 1), dtype=np.uint8)
    mean, std = channel_moments(images)
    np.testing.assert_allclose((mean[0], std[0]), ((images / 255).mean(), (images / 255).std()), rtol=1e-12)


def test_a_constant_channel_is_refused() -> None:
    with pytest.raises(DataError, match="channel 0"):
        channel_moments(np.full((3, 2, 2, 1), 7, dtype=np.uint8))


def test_the_digest_sees_one_pixel_one_label_and_the_order() -> None:
    split = noise_split(5)
    pixel, label = split.images.copy(), split.labels.copy()
    pixel[2, 1, 1, 0] ^= 1
    label[3] += 1
    versions = [
        split,
        Split(pixel, split.labels),
        Split(split.images, label),
        Split(split.images[::-1], split.labels[::-1]),
    ]
    assert len({digest_of(version) for version in versions}) == 4
    assert digest_of(split) == digest_of(noise_split(5))
    assert digest_of(split, noise_split(5, 1)) != digest_of(noise_split(5, 1), split)


@pytest.mark.parametrize("examples", [0, -1, 100])
def test_an_impossible_validation_split_is_refused(examples: int) -> None:
    with pytest.raises(DataError, match=f"hold out {examples} of 100 images: allowed is 1 to 99"):
        assembled(validation_examples=examples)


@pytest.mark.parametrize("examples", [0, 81])
def test_an_impossible_number_of_training_images_is_refused(examples: int) -> None:
    with pytest.raises(DataError, match=f"train on {examples} images of noise: allowed is 1 to 80"):
        assembled(train_examples=examples)
