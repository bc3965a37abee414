import itertools
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnjax.data.augment import Augmentation, augment
from bnnjax.data.batches import (
    device_order,
    device_share,
    device_slice,
    epoch_keys,
    evaluation_batches,
    step_key,
    steps_per_epoch,
    training_batches,
)


# Few sizes, many seeds: every size is compiled anew.
@pytest.mark.parametrize(("examples", "batch_size"), [(1, 1), (40, 40), (41, 7), (40, 21)])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 1000))
def test_an_epoch_shows_no_image_twice_and_drops_only_the_remainder(
    examples: int, batch_size: int, seed: int, epoch: int
) -> None:
    batches = np.asarray(training_batches(epoch_keys(jax.random.key(seed), epoch), examples, batch_size))
    assert batches.dtype == np.int32
    assert batches.shape == (steps_per_epoch(examples, batch_size), batch_size)
    assert examples - batches.size < batch_size
    assert len(np.unique(batches)) == batches.size
    assert batches.min() >= 0
    assert batches.max() < examples


def test_epochs_and_seeds_have_different_orders_and_drop_different_images() -> None:
    orders = [
        np.asarray(training_batches(epoch_keys(jax.random.key(seed), epoch), 103, 10))
        for seed, epoch in itertools.product(range(2), range(3))
    ]
    assert len({order.tobytes() for order in orders}) == 6
    assert len({frozenset(range(103)) - frozenset(order.ravel().tolist()) for order in orders}) == 6


def test_a_run_resumed_in_the_middle_of_an_epoch_sees_what_the_unbroken_run_sees() -> None:
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (23, 6, 6, 1), dtype=np.uint8))
    vary = jax.jit(partial(augment, augmentation=Augmentation(crop_padding=2, flip=True)))

    def run(seed: int, epoch: int, step: int) -> Iterator[np.ndarray]:
        for e in itertools.count(epoch):
            keys = epoch_keys(jax.random.key(seed), e)
            for s, batch in enumerate(training_batches(keys, 23, 5)):
                if (e, s) >= (epoch, step):
                    yield np.asarray(vary(step_key(keys, s), images[batch]))

    unbroken = list(itertools.islice(run(7, 0, 0), 12))  # four steps an epoch
    resumed = list(itertools.islice(run(7, 1, 2), 6))
    np.testing.assert_array_equal(np.stack(unbroken[6:]), np.stack(resumed))
    assert len({batch.tobytes() for batch in unbroken}) == 12


def test_keys_differ_between_purposes_epochs_and_steps() -> None:
    keys = [epoch_keys(jax.random.key(0), epoch) for epoch in range(3)]
    every = [key for pair in keys for key in pair] + [
        step_key(pair, step) for pair in keys for step in range(3)
    ]
    assert len({jax.random.key_data(key).tobytes() for key in every}) == len(every)


def test_order_can_be_made_under_jit_with_a_traced_epoch() -> None:
    make = jax.jit(lambda key, epoch: training_batches(epoch_keys(key, epoch), 50, 8))
    for epoch in (0, 3):
        plain = training_batches(epoch_keys(jax.random.key(1), epoch), 50, 8)
        np.testing.assert_array_equal(make(jax.random.key(1), jnp.int32(epoch)), plain)


@given(examples=st.integers(1, 200), batch_size=st.integers(1, 64))
def test_evaluation_visits_every_image_in_order_before_it_fills_up(examples: int, batch_size: int) -> None:
    indices = evaluation_batches(examples, batch_size)
    assert indices.shape == (-(-examples // batch_size), batch_size)
    assert indices.dtype == np.int32
    np.testing.assert_array_equal(indices.ravel()[:examples], np.arange(examples))
    assert indices.min() >= 0
    assert indices.max() < examples


@pytest.mark.parametrize(("share", "devices"), [(1, 1), (5, 1), (1, 4), (3, 8)])
def test_slices_of_all_devices_are_the_batch(share: int, devices: int) -> None:
    batch = jnp.arange(share * devices * 2, dtype=jnp.int32).reshape(share * devices, 2)
    slices = [device_slice(batch, device, devices) for device in range(devices)]
    np.testing.assert_array_equal(jnp.concatenate(slices), batch)


def test_a_device_can_find_its_slice_by_the_mesh_axis() -> None:
    batch = jnp.arange(12, dtype=jnp.int32)
    mine = jax.vmap(
        lambda: device_slice(batch, jax.lax.axis_index("data"), 4), axis_name="data", axis_size=4, in_axes=()
    )()
    np.testing.assert_array_equal(mine, batch.reshape(4, 3))


@pytest.mark.parametrize("devices", [1, 2, 3, 6])
def test_a_part_of_a_batch_is_the_same_images_on_any_number_of_devices(devices: int) -> None:
    batches = jnp.arange(36, dtype=jnp.int32).reshape(3, 12)
    ordered = device_order(batches, 2, devices)
    assert ordered.dtype == jnp.int32
    for step, batch in zip(batches, ordered, strict=True):
        slices = [device_slice(batch, device, devices) for device in range(devices)]
        for part in range(2):
            share = slices[0].shape[0] // 2
            images = jnp.concatenate([own[part * share : (part + 1) * share] for own in slices])
            np.testing.assert_array_equal(images, step[part * 6 : (part + 1) * 6])


def test_a_batch_in_one_part_keeps_its_order() -> None:
    batches = jnp.arange(24, dtype=jnp.int32).reshape(2, 12)
    np.testing.assert_array_equal(device_order(batches, 1, 4), batches)


@pytest.mark.parametrize(("examples", "batch_size"), [(10, 0), (10, 11), (0, 1)])
def test_impossible_training_batches_are_refused(examples: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch size {batch_size} with {examples}"):
        training_batches(epoch_keys(jax.random.key(0), 0), examples, batch_size)


def test_impossible_evaluation_batches_and_shares_are_refused() -> None:
    with pytest.raises(ValueError, match="0 images"):
        evaluation_batches(0, 4)
    with pytest.raises(ValueError, match="batches of 0"):
        evaluation_batches(4, 0)
    with pytest.raises(ValueError, match="batch size 10 on 4 devices"):
        device_share(10, 4)
    with pytest.raises(ValueError, match="batch size 12 on 4 devices in 2 parts"):
        device_share(12, 4, 2)
