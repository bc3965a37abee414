"""What the data sets of small images are that are downloaded when they are first used, beside CIFAR-10.

Where they come from is in `data.small_sets`.
"""

from dataclasses import dataclass

DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR100 = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel
    can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
    dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
    lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree
    pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea
    seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
    telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
    worm""".split()  # noqa: SIM905
)


@dataclass(frozen=True, kw_only=True)
class SmallSet:
    """A data set of small images, and how its training images are augmented."""

    title: str
    shows: str  # in words
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    train: int  # images
    test: int
    crop_padding: int
    flip: bool


# No flips of digits.  28 pixels are shifted by two, since the images have margins or fill their frame.
SMALL_SETS = {
    "cifar100": SmallSet(
        title="CIFAR-100",
        shows="photographs of animals, plants and things",
        class_names=CIFAR100,
        shape=(32, 32, 3),
        train=50_000,
        test=10_000,
        crop_padding=4,
        flip=True,
    ),
    "svhn_cropped": SmallSet(
        title="SVHN",
        shows="photographs of house numbers",
        class_names=DIGITS,
        shape=(32, 32, 3),
        train=73_257,
        test=26_032,
        crop_padding=4,
        flip=False,
    ),
    "mnist": SmallSet(
        title="MNIST",
        shows="handwritten digits",
        class_names=DIGITS,
        shape=(28, 28, 1),
        train=60_000,
        test=10_000,
        crop_padding=2,
        flip=False,
    ),
    "fashion_mnist": SmallSet(
        title="Fashion-MNIST",
        shows="clothes",
        class_names=CLOTHES,
        shape=(28, 28, 1),
        train=60_000,
        test=10_000,
        crop_padding=2,
        flip=True,
    ),
}
