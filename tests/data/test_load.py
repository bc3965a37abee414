"""Loading the data set that a configuration names."""

from dataclasses import replace
from typing import Any

import pytest

from bnnjax.benchmarks.steps import random_images
from bnnjax.config.training import Config
from bnnjax.data import Augmentation, Split
from bnnjax.data.load import with_colours, with_crops, with_noise


def test_colours_are_varied_beside_what_the_data_set_varies_itself() -> None:
    dataset = random_images(4)
    assert with_colours(Config(), dataset).augmentation == dataset.augmentation
    config = Config(color_jitter=(0.4, 0.3, 0.2), lighting=0.1)
    expected = Augmentation(crop_padding=4, flip=True, jitter=(0.4, 0.3, 0.2), lighting=0.1)
    assert with_colours(config, dataset).augmentation == expected


@pytest.mark.parametrize(
    ("geometry", "crop_padding", "flip"),
    [(None, 4, True), ("none", 0, False), ("crop", 2, False), ("flip", 0, True), ("crop+flip", 2, True)],
)
def test_crops_and_flips_are_the_data_sets_own_unless_others_are_asked_for(
    geometry: Any, crop_padding: int, flip: bool
) -> None:
    dataset = random_images(4)
    small = replace(dataset, train=Split(dataset.train.images[:, :16, :16], dataset.train.labels))
    found = with_crops(Config(geometry=geometry), small).augmentation
    assert found == Augmentation(crop_padding=crop_padding, flip=flip)


def test_images_without_three_colours_have_none_to_vary() -> None:
    dataset = random_images(4)
    grey = replace(dataset, train=Split(dataset.train.images[..., :1], dataset.train.labels))
    assert with_colours(Config(), grey).augmentation == dataset.augmentation
    with pytest.raises(
        ValueError, match="color_jitter and lighting are for images of 3 colours; noise has 1"
    ):
        with_colours(Config(lighting=0.1), grey)


def test_strengths_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="jitter is"):
        with_colours(Config(color_jitter=(2.0, 0.0, 0.0)), random_images(4))


def test_noise_is_added_beside_what_the_data_set_varies_itself_if_asked_for() -> None:
    dataset = random_images(4)
    assert with_noise(Config(), dataset).augmentation == dataset.augmentation
    config = Config(augment="noise", augment_sigma=0.2, augment_share=0.25)
    expected = Augmentation(crop_padding=4, flip=True, noise=0.2, noise_share=0.25)
    assert with_noise(config, dataset).augmentation == expected
