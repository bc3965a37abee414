"""Order and crops are functions of seed, epoch, step and place, and stay the same in any version."""

import numpy as np

from bnnjax.data.streaming.order import crop_uniforms, epoch_order

ORDER = [6, 0, 8, 7, 3, 5, 2, 4, 1, 9]
UNIFORMS = [0.7060260838398327, 0.3179860342071692, 0.9766811908689894]


def test_every_epoch_is_another_permutation() -> None:
    orders = [epoch_order(seed, epoch, 1000) for seed in (0, 1) for epoch in (0, 1, 2)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(1000))
    for a, left in enumerate(orders):
        for right in orders[:a]:
            assert np.mean(left == right) < 0.02
            assert abs(np.corrcoef(left, right)[0, 1]) < 0.15


def test_all_permutations_are_as_likely() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for epoch in range(6000):
        order = tuple(epoch_order(7, epoch, 3).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert max(abs(count - 1000) for count in counts.values()) < 150


def test_the_numbers_of_today_are_those_of_tomorrow() -> None:
    # A run that goes on under another version of NumPy must find the same order.
    assert epoch_order(3, 2, 10).tolist() == ORDER
    assert crop_uniforms(3, 2, 5, 7, 3) == UNIFORMS


def test_numbers_are_uniform_and_differ_in_every_argument() -> None:
    numbers = np.array([crop_uniforms(0, 0, step, place, 4) for step in range(50) for place in range(50)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.abs(np.histogram(numbers, 10, (0, 1))[0] - 1000).max() < 150
    base = (1, 2, 3, 4)
    for which in range(4):
        other = list(base)
        other[which] += 1
        assert not set(crop_uniforms(*base, 20)) & set(crop_uniforms(*other, 20))
    # The order's numbers are others.
    assert epoch_order(0, 0, 40).tolist() != np.argsort(crop_uniforms(0, 0, 0, 0, 40)).tolist()
