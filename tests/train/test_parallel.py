"""N devices equal one device: loss, gradients, batch statistics, parameters and predictions.

The devices are fake: eight on one CPU, in processes of their own, because their number is fixed when JAX
starts.  Augmentation is on, the surrogate gradient has two arguments (IR-Net), every form of the constraint
takes its turn, and so do constraints that carry vectors and draw random directions, batches in parts, a
method that remembers statistics of activations, one with a loss on them, batches that come from the host, a
teacher, and a network to compare with.
"""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import Run

from bnnjax.train.parallel import Predictor, make_mesh
from bnnjax.train.step import Normalization

Arrays = dict[str, np.ndarray]
SCRIPT = Path(__file__).parents[1] / "helpers" / "three_steps.py"
# Without optimization it compiles in half the time; what is compared is compiled alike.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"


# Compared with one device: two images on each of eight, and in some settings also more on fewer.
SETTINGS = [
    ("streamed", (8,)),
    *(pytest.param((setting, (2, 8)), marks=pytest.mark.slow) for setting in ("folded", "parts")),
    *(
        pytest.param((setting, (8,)), marks=pytest.mark.slow)
        for setting in ("carried", "gain", "hard", "lqnet", "rad", "teacher", "lcr")
    ),
]


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda setting: setting[0])
def trained(
    request: pytest.FixtureRequest, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Arrays]:
    """The results of three steps, by number of devices."""
    setting, others = request.param
    folder, counts = tmp_path_factory.mktemp(setting), (1, *others)
    flags = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"
    done = run(SCRIPT, setting, folder, *counts, XLA_FLAGS=flags)
    assert (done.returncode, done.stderr) == (0, "")
    return {devices: dict(np.load(folder / f"{devices}.npz")) for devices in counts}


def assert_equal(left: Arrays, right: Arrays, part: str, rtol: float = 1e-5) -> None:
    names = [name for name in left if part in name]
    assert names
    for name in names:
        scale = float(np.abs(left[name]).max())
        np.testing.assert_allclose(left[name], right[name], rtol=rtol, atol=rtol * scale + 3e-7, err_msg=name)


def test_n_devices_equal_one(trained: dict[int, Arrays]) -> None:
    one, *others = trained.values()
    assert others
    for many in others:
        assert one.keys() == many.keys()
        # The momentum after the first step is the gradient (plus the decayed weight).
        assert_equal(one, many, "1.opt_state[1][0].trace")
        for step in (1, 2, 3):
            assert_equal(one, many, f"{step}.")  # the whole state
        assert_equal(one, many, "logits", rtol=1e-4)


def test_training_did_something_to_compare(trained: dict[int, Arrays]) -> None:
    one = trained[1]
    for name in (name for name in one if name.startswith("1.params")):
        later = one["3" + name[1:]]
        assert np.isfinite(later).all()
        assert not np.array_equal(one[name], later), name
    assert 1.5 < one["3.totals.task_loss"] < 5
    assert one["logits"].shape == (37, 10)


def test_a_mesh_is_of_all_devices_unless_told_which() -> None:
    assert make_mesh(len(jax.devices()) * 3).size == len(jax.devices())
    assert make_mesh(7, jax.devices()[:1]).size == 1


def test_predictions_are_in_float32_whatever_training_computes_in() -> None:
    normalization = Normalization((0.5,) * 3, (0.25,) * 3, jnp.bfloat16)
    mesh = make_mesh(4, jax.devices()[:1])
    predict = Predictor(lambda params, batch_stats, x: x.mean((1, 2)), normalization, mesh, 4)
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), np.uint8)
    expected = (images / 255).mean((1, 2)) * 4 - 2
    np.testing.assert_allclose(predict({}, {}, images), expected, atol=1e-6)


def test_a_batch_that_cannot_be_split_evenly_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"batch size 7 on 2 devices"):
        make_mesh(7, jax.devices()[:1] * 2)
