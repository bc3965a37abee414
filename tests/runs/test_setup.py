"""The task of a run: its projections, its measurements and its precision."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noise import BATCH, EXAMPLES, SHAPE, Train, noise, trained

from bnnjax.bounds.chain import Residual, unit_names
from bnnjax.config.constraints import L1InfConfig
from bnnjax.config.training import Config
from bnnjax.data import Dataset
from bnnjax.methods import make_method
from bnnjax.models import make_model
from bnnjax.models.figures import Measure
from bnnjax.models.network import Network, project_latents
from bnnjax.runs.resolve import resolve
from bnnjax.runs.setup import make_network, make_setup
from bnnjax.train.state import TrainState


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return noise()


@pytest.fixture(scope="module")
def train(dataset: Dataset) -> Train:
    """train(steps, field=value, ...): the network and its states, the first before any step."""
    return partial(trained, dataset)


def by_name(params: Any) -> dict[str, list[np.ndarray]]:
    """Every parameter by the last part of its path."""
    found: dict[str, list[np.ndarray]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        found.setdefault(path[-1].key, []).append(np.asarray(leaf))
    return found


def test_a_projection_of_latent_weights_touches_nothing_else() -> None:
    params = {
        "conv1": {"conv": {"latent": jnp.full((2, 2), 3.0)}, "norm": {"gain": jnp.full(2, 3.0)}},
        "stem": {"conv": {"kernel": jnp.full((2, 2), 3.0)}},
        "head": {"dense": {"bias": jnp.full(2, 3.0)}},
    }
    projected = by_name(project_latents(params, lambda latent: jnp.clip(latent, -1, 1)))
    np.testing.assert_array_equal(projected.pop("latent")[0], np.ones((2, 2)))
    assert {float(leaf.max()) for leaves in projected.values() for leaf in leaves} == {3.0}


def test_latent_clip_bounds_the_latent_weights_alone(train: Train) -> None:
    _, states = train(2, latent_clip=0.05)
    for state in states[1:]:
        params = by_name(state.params)
        assert all(np.abs(leaf).max() <= 0.05 for leaf in params["latent"])
        assert max(np.abs(leaf).max() for leaf in params["latent"]) == np.float32(0.05)
        assert max(np.abs(leaf).max() for leaf in params["kernel"]) > 0.05
        assert max(np.abs(leaf).max() for leaf in params["gain"]) > 0.05


def test_hard_l1inf_keeps_every_unit_with_a_gain_within_the_radius_after_every_step(train: Train) -> None:
    radius = 2.0
    network, states = train(6, constraint="l1inf", l1inf=L1InfConfig(form="hard", radius=radius))
    kernels = jax.jit(network.kernels)

    def norms(state: TrainState) -> dict[str, float]:
        folded = kernels(state.params, state.batch_stats)
        return {
            name: float(np.abs(kernel).sum(axis=(0, 1, 2)).max())
            for name, kernel in folded.items()
            if name != "head"
        }

    assert max(norms(states[0]).values()) > radius  # there is something to project
    for state in states[1:]:
        found = norms(state)
        assert len(found) == 6
        assert max(found.values()) <= radius * (1 + 1e-5)
    # A unit that is projected lies on the edge, it is not shrunk further.
    assert max(norms(states[-1]).values()) == pytest.approx(radius, rel=1e-4)


def test_bfloat16_computes_logits_but_keeps_parameters_and_statistics_in_float32(train: Train) -> None:
    _, states = train(2, precision="bfloat16", constraint="l1inf")
    last = states[-1]
    for tree in (last.params, last.batch_stats, last.opt_state[1][0].trace):
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {np.dtype(np.float32)}
    assert np.isfinite(last.totals.loss)
    _, exact = train(2, constraint="l1inf")
    assert float(last.totals.loss) == pytest.approx(float(exact[-1].totals.loss), rel=0.2)
    assert float(last.totals.loss) != float(exact[-1].totals.loss)


def bound_by_hand(chain: Any, norms: dict[str, float]) -> float:
    bound = 1.0
    for node in chain:
        if isinstance(node, Residual):
            bound *= bound_by_hand(node.shortcut, norms) + bound_by_hand(node.branch, norms)
        else:
            bound *= norms[node]
    return bound


def test_the_bound_measured_is_the_one_computed_by_hand_from_the_kernels(train: Train) -> None:
    network, states = train(2)
    state = states[-1]
    kernels = network.kernels(state.params, state.batch_stats)
    assert set(kernels) == set(unit_names(network.chain))
    norms = {
        name: float(np.abs(np.asarray(kernel, np.float64)).reshape(-1, kernel.shape[-1]).sum(0).max())
        for name, kernel in kernels.items()
    }
    figures = Measure(network)(state.params, state.batch_stats)
    assert figures["log_lipschitz_bound"] == pytest.approx(
        np.log(bound_by_hand(network.chain, norms)), rel=1e-5
    )
    assert figures["units_off"] == 0


def test_units_that_pass_nothing_on_are_counted(train: Train) -> None:
    network, states = train(0)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * 0 if path[-1].key == "gain" and path[0].key == "stage1_block1" else leaf,
        states[0].params,
    )
    figures = Measure(network)(params, states[0].batch_stats)
    assert figures["units_off"] == 2
    assert np.isfinite(figures["log_lipschitz_bound"])


def test_folded_kernels_are_those_the_network_computes_with(train: Train) -> None:
    network, states = train(1)
    state = states[-1]
    kernels = network.kernels(state.params, state.batch_stats)
    stem, norm, stats = (
        state.params["stem"]["conv"]["kernel"],
        state.params["stem"]["norm"],
        state.batch_stats["stem"]["norm"],
    )
    np.testing.assert_allclose(
        kernels["stem"], stem * norm["gain"] / np.sqrt(stats["variance"] + 1e-5), rtol=1e-5, atol=1e-7
    )
    latent = state.params["stage1_block1"]["conv1"]["conv"]["latent"]
    balanced = latent - latent.mean(axis=(0, 1, 2))
    np.testing.assert_array_equal(np.sign(kernels["stage1_block1/conv1"]), np.sign(balanced))


def test_initial_latent_weights_are_projected_where_the_method_says_so() -> None:
    method = make_method("bnn")
    assert method.project_latent is not None
    network = Network(make_model("resnet_tiny", method, classes=10), method, SHAPE)
    params, _ = network.init(jax.random.key(0))
    for latent in by_name(params)["latent"]:
        np.testing.assert_array_equal(method.project_latent(latent), latent)


@pytest.mark.parametrize(
    ("method", "epochs", "peaks"),
    [("irnet", 5, [0]), ("reactnet", 5, [0, 3]), ("reactnet", 2, [0, 1]), ("sqbwn", 5, [0, 2, 3, 4])],
)
def test_the_learning_rate_starts_anew_with_the_epoch_in_which_the_method_changes_stage(
    dataset: Dataset, method: str, epochs: int, peaks: list[int]
) -> None:
    config = Config(model="resnet_tiny", method=method, epochs=epochs, batch_size=BATCH)  # type: ignore[arg-type]
    setup = make_setup(resolve(config), dataset)
    steps = setup.task.steps_per_epoch
    assert steps == EXAMPLES // BATCH == 4
    rates = [float(setup.learning_rate(step)) for step in range(epochs * steps)]
    assert [step for step, rate in enumerate(rates) if rate == np.float32(0.1)] == [steps * e for e in peaks]
    # What the method's quantizers are told, epoch by epoch, changes there too, and nowhere else.
    if method != "irnet":
        told = [
            float(*setup.network.method.schedule(jnp.float32(epoch) / jnp.float32(epochs)).values())
            for epoch in range(epochs)
        ]
        changes = [epoch for epoch in range(1, epochs) if told[epoch] != told[epoch - 1]]
        assert changes == peaks[1:]


def test_fewer_epochs_than_stages_are_refused(dataset: Dataset) -> None:
    config = Config(model="resnet_tiny", method="sqbwn", epochs=3, batch_size=BATCH)
    with pytest.raises(
        ValueError, match=r"method sqbwn trains in 4 stages of at least an epoch each; got epochs 3$"
    ):
        make_setup(resolve(config), dataset)


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (1, 1)])
def test_images_that_are_too_small_for_the_poolings_are_refused(
    dataset: Dataset, size: tuple[int, int]
) -> None:
    small = replace(dataset, train=dataset.train._replace(images=np.zeros((4, *size, 3), np.uint8)))
    with pytest.raises(
        ValueError, match=rf"vgg_tiny needs images of 8x8 or larger; .* are {size[0]}x{size[1]}$"
    ):
        make_network(Config(model="vgg_tiny"), small)
    large = replace(small, train=small.train._replace(images=np.zeros((4, 8, 8, 3), np.uint8)))
    network = make_network(Config(model="vgg_tiny"), large)
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    assert 32 * 10 in {leaf.size for leaf in jax.tree.leaves(params)}  # one pixel of 32 channels, 10 classes
    make_network(Config(model="resnet_tiny"), small)


def test_a_warm_up_as_long_as_the_training_is_refused(train: Train) -> None:
    with pytest.raises(ValueError, match="a warm-up of 8 steps must be shorter than the training's 8"):
        train(0, warmup_epochs=2.0)
