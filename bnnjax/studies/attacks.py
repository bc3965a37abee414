"""Trained networks under attack: the accuracy that no attack of a set takes away, and what masks it."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from bnnjax.data import Dataset
from bnnjax.data.augment import normalize
from bnnjax.data.dataset import spread_over_classes
from bnnjax.models import make_model
from bnnjax.models.network import infer, make_network
from bnnjax.robustness.attacks import (
    L2,
    Attacked,
    Setting,
    apgd,
    at_temperature,
    cross_entropy,
    dlr,
    evaluate,
    fgsm,
    in_batches,
    pgd,
    search,
    signs_of_masking,
    square,
    strongest,
    traced,
)
from bnnjax.robustness.attacks.smoothed import quantizes_activations, smoothed
from bnnjax.robustness.attacks.temperature import SURROGATES
from bnnjax.runs.saved import Trained
from bnnjax.types import Tree

LADDER = (0.0, 1 / 255, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 32 / 255, 1.0)
SEARCH_IMAGES = 64

# (key, images, labels, eps) -> what was found, for a batch.
Run = Callable[..., Attacked]


def eps_text(eps: float) -> str:
    """Returns 8/255 for 8 / 255, and 0, 1 and what is no such fraction as numbers."""
    parts = round(eps * 255)
    return f"{parts}/255" if 0 < parts < 255 and abs(parts / 255 - eps) < 1e-9 else f"{eps:g}"


def wilson(successes: int, trials: int) -> list[float]:
    """Returns the 95 % interval of Wilson for a share, [low, high] in percent."""
    share, z = successes / trials, statistics.NormalDist().inv_cdf(0.975)
    middle = share + z * z / (2 * trials)
    width = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    ends = ((middle + sign * width) / (1 + z * z / trials) for sign in (-1, 1))
    return [100 * min(max(end, 0.0), 1.0) for end in ends]  # rounding may leave [0, 1]


def attackable(trained: Trained, dataset: Dataset) -> Partial:
    """Returns logits_of(images, temperature): a trained network, its arrays as leaves, on images of attacks.

    Images are float32 [n, h, w, c] in [0, 1], of which a stored uint8 image is the 255th part; they are not
    rounded to 256 levels.  The logits, [n, classes], are those of the network at inference, whatever the
    temperature, which is that of `smoothed`; None leaves the gradients that training used.  A network that
    quantizes no activations has the same gradients at every temperature.

    Args:
      trained: the network.
      dataset: whose mean and deviation it was trained with.
    """
    setup, config = trained.setup, trained.config

    def logits_of(
        arrays: tuple[Tree, Tree], images: Array, temperature: Array | float | None = None
    ) -> Array:
        inputs = normalize(images * 255, dataset.mean, dataset.std, setup.task.dtype)
        if temperature is None or not quantizes_activations(setup.method):
            return infer(setup.network, setup.method, arrays, inputs)[0]
        method = smoothed(setup.method, jnp.asarray(temperature))
        model = make_model(config.model, method, structure=config.structure, classes=len(dataset.class_names))
        network = make_network(model, method, dataset.train.images.shape[1:])
        return infer(network, method, arrays, inputs)[0]

    return Partial(logits_of, (trained.params, trained.batch_stats))


def chosen_images(dataset: Dataset, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images, float32 [n, h, w, c] in [0, 1], and labels of the test split, evenly over the classes.

    Raises:
      ValueError: if there are not so many images.
    """
    count = len(dataset.test.labels)
    if not 1 <= images <= count:
        raise ValueError(f"images is {images}; allowed is 1 to {count}, the test images of {dataset.name}")
    labels = dataset.test.labels
    mask = np.ones(count, bool) if images == count else spread_over_classes(labels, images)
    return dataset.test.images[mask].astype(np.float32) / np.float32(255), labels[mask]


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


def _gradients(
    trained: Trained, dataset: Dataset, key: jax.Array, images: np.ndarray, labels: np.ndarray, eps: float
) -> tuple[Partial, Partial, list[Setting]]:
    """Returns the network with the strongest gradients for some images, their loss, and what was searched."""
    surrogates = SURROGATES if quantizes_activations(trained.setup.method) else (None,)
    logits_at = attackable(trained, dataset)
    settings = search(logits_at, key, jnp.asarray(images), jnp.asarray(labels), eps, surrogates=surrogates)
    best = strongest(settings)
    loss = Partial(cross_entropy, temperature=jnp.float32(best.logits))
    return at_temperature(logits_at, best.surrogate), loss, settings


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
    """Returns what is left of a trained network's accuracy under attack.

    The defaults are for two CPU cores; on a GPU take e.g. images=10_000, steps=100, queries=5000,
    batch_size=500.  Images that the network gets wrong by itself are not attacked; they count as broken.
    Attacks follow the gradients that `search` finds the strongest at the largest eps.  The images that
    attacks find are not rounded to 256 levels, as is the custom.

    Args:
      trained: the network.
      dataset: whose test images are attacked.
      images: how many, the same share of every class.
      eps: sizes of the l_inf attacks, in units where 255 is 1.
      l2: sizes of the l_2 attack, likewise.
      steps: of iterative attacks; the ladder takes half as many.
      queries: of the black box, for each image.
      seed: of all random numbers.
      twin: the network that transfer attacks are made on; None leaves them out.
      batch_size: images that are attacked at once.
      on_attack: is told of each attack that begins.

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
    x, y = chosen_images(dataset, images)
    size = min(batch_size, images)
    root = jax.random.key(seed)
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[..., Any], *given: Any) -> Any:
        on_attack(name)
        began = time.perf_counter()
        result = work(*given)
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began
        return result

    look = jax.jit(evaluate)

    def looked(logits_of: Partial, loss: Partial) -> Run:
        return lambda key, images, labels, eps=None: look(logits_of, loss, images, labels)

    own = at_temperature(attackable(trained, dataset), None)
    clean = in_batches(looked(own, traced(cross_entropy)), root, x, y, size)
    right = ~np.asarray(clean.is_broken)
    # A network that gets nothing right is attacked where it stands, so that there is something to show.
    attacked = right if right.any() else np.ones(images, bool)
    x, y = x[attacked], y[attacked]

    def run(name: str, attack: Run, at: float) -> Attacked:
        """Each attack has random numbers of its own, the same at every size."""
        key = jax.random.fold_in(root, sum(name.encode()))
        batch = partial(attack, eps=jnp.float32(at))
        return timed(name, in_batches, lambda k, images, labels: batch(k, images, labels), key, x, y, size)

    def standing(found: Attacked) -> np.ndarray:
        left = right.copy()
        left[attacked] &= ~np.asarray(found.is_broken)
        return left

    # As many for every network, so that their programs are the same.
    some = np.linspace(0, len(y) - 1, min(SEARCH_IMAGES, images)).round().astype(int)
    given = (dataset, jax.random.fold_in(root, 0), x[some], y[some], max(eps))
    logits_of, loss, settings = timed("temperature", _gradients, trained, *given)
    attacks: dict[str, Run] = {
        "fgsm": partial(fgsm, logits_of, loss=loss),
        "pgd_linf": partial(pgd, logits_of, steps=steps, loss=loss),
        "apgd_ce": partial(apgd, logits_of, steps=steps, loss=loss),
        "square": partial(square, own, queries=queries),
    }
    if len(dataset.class_names) >= 3:
        attacks["apgd_dlr"] = partial(apgd, logits_of, steps=steps, loss=dlr)
    if twin is not None:
        of_twin, twins_loss, _ = timed("transfer", _gradients, twin, *given)

        def transfer(key: jax.Array, images: jax.Array, labels: jax.Array, eps: jax.Array) -> Attacked:
            crafted = apgd(of_twin, key, images, labels, eps, steps=steps, loss=twins_loss).images
            return look(own, traced(cross_entropy), crafted, labels)

        attacks["transfer"] = transfer

    by_eps: dict[str, dict[str, Any]] = {}
    for each in eps:
        found = {name: standing(run(name, attack, each)) for name, attack in attacks.items()}
        worst = np.all([right, *found.values()], axis=0)
        order = ("fgsm", "pgd_linf", "apgd_ce", "apgd_dlr", "square", "transfer")
        by_eps[eps_text(each)] = {
            "clean": _percent(right),
            **{name: _percent(found[name]) if name in found else None for name in order},
            "worst_case": _percent(worst),
            "worst_case_interval": wilson(int(worst.sum()), images),
        }

    sphere = partial(pgd, logits_of, steps=steps, loss=loss, ball=L2)
    pgd_l2 = {f"{each:g}": _percent(standing(run("pgd_l2", sphere, each))) for each in l2}
    # Half as many steps; without any attack, the images themselves under the same loss.
    short = partial(pgd, logits_of, steps=max(steps // 2, 1), loss=loss)
    ladder = {}
    for each in LADDER:
        rung = run("ladder", short if each else looked(logits_of, loss), each)
        ladder[eps_text(each)] = {
            "accuracy": _percent(standing(rung)),
            "loss": float(np.mean(rung.losses, dtype=np.float64)),
        }
    searched = [setting._asdict() for setting in settings]
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
        "temperature": {"searched": searched, "chosen": strongest(settings)._asdict()},
        "ladder": ladder,
        "masking": signs_of_masking(by_eps, ladder, searched),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }
