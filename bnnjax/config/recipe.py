"""Training recipes: the settings that methods and presets publish, and those that all methods share."""

from dataclasses import dataclass

from bnnjax.config.names import Optimizer


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained: the optimizer's settings and how long."""

    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    batch_size: int = 128
    epochs: int = 400


# By data set, the recipe that all methods are compared under; other data sets have that of cifar10, IR-Net's.
COMMON_RECIPES = {
    "cifar10": Recipe(),
    "digits": Recipe(batch_size=16, epochs=5),  # of 1,500 images
    "imagenet2012": Recipe(batch_size=256, epochs=100),
}


def common_recipe(dataset: str) -> Recipe:
    """Returns the recipe that all methods are compared under on a data set."""
    return COMMON_RECIPES.get(dataset, COMMON_RECIPES["cifar10"])
