"""Evaluation of trained networks under attack: worst-case accuracy over attacks, and gradient masking."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from bnnjax.data import Dataset
from bnnjax.data.augment import normalize_floats
from bnnjax.data.dataset import spread_over_classes
from bnnjax.robustness.attacks import (
    L2,
    Attacked,
    Bench,
    Run,
    Setting,
    Target,
    apgd,
    cross_entropy,
    dlr,
    fgsm,
    pgd,
    search,
    set_up,
    signs_of_masking,
    square,
    strongest,
    unattacked,
)
from bnnjax.robustness.attacks.smoothed import quantizes_activations, smoothed
from bnnjax.robustness.attacks.temperature import SURROGATES
from bnnjax.runs.saved import Trained
from bnnjax.types import Tree

LADDER = (0.0, 1 / 255, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 32 / 255, 1.0)
SEARCH_IMAGES = 64
IN_ORDER = ("fgsm", "pgd_linf", "apgd_ce", "apgd_dlr", "square", "transfer")  # attacks in records


def eps_text(eps: float) -> str:
    """Returns 8/255 for 8 / 255; 0, 1 and all that are not such fractions are written as numbers."""
    parts = round(eps * 255)
    return f"{parts}/255" if 0 < parts < 255 and abs(parts / 255 - eps) < 1e-9 else f"{eps:g}"


def wilson(successes: int, trials: int) -> list[float]:
    """Returns Wilson's 95 % interval for a share, [low, high] in percent."""
    from scipy.stats import binomtest  # its import takes a second

    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return [100 * float(interval.low), 100 * float(interval.high)]


def attackable(trained: Trained, dataset: Dataset) -> Target:
    """Returns a trained network for attacks, with the gradients that training used.

    Images are float32 [n, h, w, c] in [0, 1], stored uint8 images divided by 255, and not rounded to 256
    levels.  The logits are those of the network at inference, whatever the temperature, which is that of
    `smoothed`.  A network that quantizes no activations has the same gradients at every temperature.

    Args:
      trained: the network.
      dataset: the one it was trained on, for mean and deviation.
    """
    network, normalized = trained.network, partial(normalize_floats, mean=dataset.mean, std=dataset.std)

    def logits_of(params: Tree, batch_stats: Tree, images: Array, temperature: Array | None = None) -> Array:
        seen = network
        if temperature is not None and quantizes_activations(network.method):
            seen = network.with_method(smoothed(network.method, temperature))
        return seen.logits(params, batch_stats, normalized(images, dtype=jnp.float32))

    return Target(logits_of, (trained.params, trained.batch_stats))


def check_classes(dataset: Dataset) -> None:
    """Checks that an image has another class to be taken for.

    Raises:
      ValueError: if it has none.
    """
    classes = len(dataset.class_names)
    if classes < 2:
        raise ValueError(f"attacks need 2 classes or more; {dataset.name} has {classes}")


def chosen_images(dataset: Dataset, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images, float32 [n, h, w, c] in [0, 1], and labels of the test split, evenly over the classes.

    Raises:
      ValueError: if there are fewer images, or if all are of one class.
    """
    check_classes(dataset)
    count = len(dataset.test.labels)
    if not 1 <= images <= count:
        raise ValueError(f"images is {images}; allowed is 1 to {count}, the test images of {dataset.name}")
    labels = dataset.test.labels
    mask = np.ones(count, bool) if images == count else spread_over_classes(labels, images)
    return dataset.test.images[mask].astype(np.float32) / np.float32(255), labels[mask]


class Gradients(NamedTuple):
    """The gradients that attacks follow, and the settings that were tried to find them."""

    target: Target
    loss: Partial
    settings: list[Setting]


def find_gradients(trained: Trained, dataset: Dataset, bench: Bench, eps: float) -> Gradients:
    """Returns the strongest gradients of a network, found with some of the images and attacks of size eps."""
    # The same number of images for every network, so that their programs are the same.
    count = min(SEARCH_IMAGES, len(bench.right))
    some = np.linspace(0, len(bench.labels) - 1, count).round().astype(int)
    images, labels = jnp.asarray(bench.images[some]), jnp.asarray(bench.labels[some])
    surrogates = SURROGATES if quantizes_activations(trained.network.method) else (None,)
    target, key = attackable(trained, dataset), jax.random.fold_in(bench.key, 0)
    settings = search(target, key, images, labels, eps, surrogates=surrogates)
    best = strongest(settings)
    loss = Partial(cross_entropy, temperature=jnp.float32(best.logits))
    return Gradients(target.at(best.surrogate), loss, settings)


def transfer(
    target: Target, twin: Gradients, key: Array, images: Array, labels: Array, eps: Array, *, steps: int
) -> Attacked:
    """Returns the result of attacking a network with the images that APGD finds on its twin."""
    crafted = apgd(twin.target, key, images, labels, eps, steps=steps, loss=twin.loss).images
    return unattacked(target, key, crafted, labels, eps)


def attack_set(
    target: Target, own: Gradients, twin: Gradients | None, classes: int, steps: int, queries: int
) -> dict[str, Run]:
    """Returns the attacks within l_inf balls by name; DLR takes 3 classes or more, transfer a twin."""
    attacks: dict[str, Run] = {
        "fgsm": partial(fgsm, own.target, loss=own.loss),
        "pgd_linf": partial(pgd, own.target, steps=steps, loss=own.loss),
        "apgd_ce": partial(apgd, own.target, steps=steps, loss=own.loss),
        "square": partial(square, target, queries=queries),
    }
    if classes >= 3:
        attacks["apgd_dlr"] = partial(apgd, own.target, steps=steps, loss=dlr)
    if twin is not None:
        attacks["transfer"] = partial(transfer, target, twin, steps=steps)
    return attacks


def accuracies(bench: Bench, attacks: dict[str, Run], eps: float) -> dict[str, Any]:
    """Returns the accuracies of a record for one size of the attacks within l_inf balls."""
    standing = {name: bench.standing(bench.run(name, attack, eps)) for name, attack in attacks.items()}
    worst = np.all([bench.right, *standing.values()], axis=0)
    return {
        "clean": _percent(bench.right),
        **{name: _percent(standing[name]) if name in standing else None for name in IN_ORDER},
        "worst_case": _percent(worst),
        "worst_case_interval": wilson(int(worst.sum()), len(worst)),
    }


def climb_ladder(bench: Bench, gradients: Gradients, steps: int) -> dict[str, dict[str, float]]:
    """Returns accuracy and loss after PGD at each size of LADDER; at 0 those without an attack."""
    target, loss, _ = gradients
    ladder = {}
    for eps in LADDER:
        attack = (
            partial(pgd, target, steps=steps, loss=loss) if eps else partial(unattacked, target, loss=loss)
        )
        rung = bench.run("ladder", attack, eps)
        ladder[eps_text(eps)] = {
            "accuracy": _percent(bench.standing(rung)),
            "loss": float(np.mean(rung.losses, dtype=np.float64)),
        }
    return ladder


def _check(eps: Sequence[float], l2: Sequence[float], **counts: int) -> None:
    if not eps or not all(0 < each <= 1 for each in eps):
        raise ValueError(f"eps is {tuple(eps)}; allowed are one or more numbers above 0 and up to 1")
    if not all(each > 0 for each in l2):
        raise ValueError(f"l2 is {tuple(l2)}; allowed are numbers above 0")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1; got {count}")


def _percent(standing: Any) -> float:
    return 100 * float(np.mean(standing))


def attack_run(
    trained: Trained,
    dataset: Dataset,
    *,
    images: int = 256,
    eps: Sequence[float] = (2 / 255, 8 / 255),
    l2: Sequence[float] = (0.5,),
    steps: int = 20,
    queries: int = 300,
    seed: int = 0,
    twin: Trained | None = None,
    batch_size: int = 64,
    on_attack: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Returns a trained network's accuracies under attack.

    The defaults are for two CPU cores; on a GPU use e.g. images=10_000, steps=100, queries=5000,
    batch_size=500.  Images that the network misclassifies without an attack are not attacked; they count as
    broken.  Attacks follow the gradients that `search` finds to be the strongest at the largest eps.
    Adversarial images are not rounded to 256 levels, as is customary.

    Args:
      trained: the network.
      dataset: whose test images are attacked.
      images: how many, the same share of every class.
      eps: sizes of the l_inf attacks, in units where 255 is 1.
      l2: sizes of the l_2 attack, likewise.
      steps: of iterative attacks; the ladder takes half as many.
      queries: of the black-box attack, per image.
      seed: of all random numbers.
      twin: the network on which transfer attacks are computed; None leaves them out.
      batch_size: images that are attacked at once.
      on_attack: called with the name of each attack as it begins.

    Returns:
      A record for JSON; accuracies in percent.  `run`, `method`, `constraint`, `images`, `steps`, `queries`
      and `seed`; `eps`, by size the accuracies `clean`, `fgsm`, `pgd_linf`, `apgd_ce`, `apgd_dlr` (None below
      3 classes), `square`, `transfer` (None without a twin), `worst_case` (no attack breaks the image) and
      `worst_case_interval`, Wilson's at 95 %; `pgd_l2` by size; `temperature` with the `searched` settings
      and the `chosen`; `ladder` with `accuracy` and `loss` (of the images that are attacked) by eps;
      `masking`, sentences; and `seconds` by attack, all sizes together, compilation included.

    Raises:
      ValueError: if a size or a number is out of range.
    """
    _check(eps, l2, steps=steps, queries=queries, batch_size=batch_size)
    target = attackable(trained, dataset)
    chosen = chosen_images(dataset, images)
    bench = set_up(target, *chosen, batch_size, jax.random.key(seed), on_attack)
    with bench.timed("temperature"):
        own = find_gradients(trained, dataset, bench, max(eps))
    twins = None
    if twin is not None:
        with bench.timed("transfer"):
            twins = find_gradients(twin, dataset, bench, max(eps))
    attacks = attack_set(target, own, twins, len(dataset.class_names), steps, queries)
    by_eps = {eps_text(each): accuracies(bench, attacks, each) for each in eps}
    sphere = partial(pgd, own.target, steps=steps, loss=own.loss, ball=L2)
    pgd_l2 = {f"{each:g}": _percent(bench.standing(bench.run("pgd_l2", sphere, each))) for each in l2}
    ladder = climb_ladder(bench, own, max(steps // 2, 1))
    searched = [setting._asdict() for setting in own.settings]
    return {
        "run": str(trained.place),
        "method": trained.config.method,
        "constraint": trained.config.constraint,
        "images": images,
        "steps": steps,
        "queries": queries,
        "seed": seed,
        "eps": by_eps,
        "pgd_l2": pgd_l2,
        "temperature": {"searched": searched, "chosen": strongest(own.settings)._asdict()},
        "ladder": ladder,
        "masking": signs_of_masking(by_eps, ladder, searched),
        "seconds": {name: round(value, 1) for name, value in bench.seconds.items()},
    }
