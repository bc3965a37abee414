"""N devices equal one device: loss, gradients, batch statistics, parameters and predictions.

The devices are fake: eight on one CPU, in processes of their own, because their number is fixed when JAX
starts.  Augmentation is on, the surrogate gradient has two arguments (IR-Net), every form of the constraint
takes its turn, and so do constraints that carry vectors and draw random directions, batches in parts, a
method that remembers statistics of activations, one with a loss on them, batches that come from the host, a
teacher, and a network to compare with.
"""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from bnnjax.train.parallel import make_mesh

Arrays = dict[str, np.ndarray]
# Without optimization it compiles in half the time; what is compared is compiled alike.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"


# What is compared with one device: two images on each of eight, and for some settings also more on fewer.
DEVICES = dict.fromkeys(
    ("folded", "gain", "hard", "carried", "parts", "lqnet", "rad", "streamed", "teacher", "lcr"), (8,)
) | {"folded": (2, 8), "parts": (2, 8)}


@pytest.fixture(scope="session", params=DEVICES)
def trained(
    request: pytest.FixtureRequest, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Arrays]:
    """What three steps left behind, by number of devices."""
    folder, counts = tmp_path_factory.mktemp(request.param), (1, *DEVICES[request.param])
    script = Path(__file__).with_name("three_steps.py")
    subprocess.run(
        [sys.executable, *map(str, (script, request.param, folder, *counts))],
        env=environment | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"},
        check=True,
    )
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


def test_a_batch_that_cannot_be_split_evenly_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"batch size 7 on 2 devices"):
        make_mesh(7, jax.devices()[:1] * 2)
