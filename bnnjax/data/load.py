"""Loads the data set that a configuration names."""

import dataclasses

from bnnjax.config.small_sets import SMALL_SETS
from bnnjax.config.training import Config
from bnnjax.data import Dataset, load_cifar10, load_digits, load_imagenet, load_prepared
from bnnjax.data.small_sets import load_small

NAMES = ("cifar10", "digits", "imagenet", "imagenet2012", *SMALL_SETS)  # that mean a data set of their own


def load(config: Config) -> Dataset:
    """Returns the data set that the configuration names.

    Raises:
      ValueError: if it cannot be read (DataError), or does not have an option that the configuration sets.
    """
    return with_noise(config, with_colours(config, with_crops(config, load_named(config))))


def load_named(config: Config) -> Dataset:
    """Returns the data set of the configuration's name; raises as `load`."""
    if config.dataset == "cifar10":
        return load_cifar10(config.data_dir, archive=config.archive, train_examples=config.train_examples)
    if config.dataset == "digits":
        return load_digits(config.data_dir, train_examples=config.train_examples)
    if config.dataset == "imagenet2012":
        return load_imagenet(
            config.data_dir,
            size=config.image_size,
            train_examples=config.train_examples,
            workers=config.data_workers,
            timeout=config.data_timeout,
            skip_corrupt=config.skip_corrupt,
        )
    if config.dataset.partition("/")[0] in SMALL_SETS:
        return load_small(config.dataset, config.data_dir, train_examples=config.train_examples)
    return load_prepared(config.dataset, config.data_dir, train_examples=config.train_examples)


def with_crops(config: Config, dataset: Dataset) -> Dataset:
    """Returns the data set with the crops and flips of training images that the configuration asks for."""
    if config.geometry is None:
        return dataset
    parts = config.geometry.split("+")
    augmentation = dataclasses.replace(
        dataset.augmentation,
        crop_padding=dataset.image_shape[0] // 8 if "crop" in parts else 0,
        flip="flip" in parts,
    )
    return dataclasses.replace(dataset, augmentation=augmentation)


def with_colours(config: Config, dataset: Dataset) -> Dataset:
    """Returns the data set with the configuration's colour augmentation of training images.

    Raises:
      ValueError: if a strength is out of range, or the images do not have three channels.
    """
    augmentation = dataclasses.replace(
        dataset.augmentation, jitter=config.color_jitter, lighting=config.lighting
    )
    channels = dataset.train.images.shape[-1]
    if augmentation != dataset.augmentation and channels != 3:
        raise ValueError(
            f"color_jitter and lighting are for images of 3 colours; {dataset.name} has {channels}"
        )
    return dataclasses.replace(dataset, augmentation=augmentation)


def with_noise(config: Config, dataset: Dataset) -> Dataset:
    """Returns the data set with Gaussian noise on some training images, if the configuration asks for it."""
    if config.augment == "none":
        return dataset
    augmentation = dataclasses.replace(
        dataset.augmentation, noise=config.augment_sigma, noise_share=config.augment_share
    )
    return dataclasses.replace(dataset, augmentation=augmentation)
