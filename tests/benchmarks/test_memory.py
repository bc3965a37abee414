"""The largest batches that fit into memory."""

from dataclasses import replace

import pytest

from bnnjax.benchmarks import memory
from bnnjax.benchmarks.memory import VARIANTS, largest_batch, largest_batches, step_bytes
from bnnjax.benchmarks.steps import Case

CASE = Case(model="vgg_tiny", batch=64, kernels="xla")


@pytest.mark.slow
def test_a_step_needs_less_where_codes_are_bits_and_less_where_units_are_computed_again():
    whole, packed, again = (step_bytes(replace(CASE, **changes)) for changes in VARIANTS[:3])
    assert again < packed < whole
    # Kernels in C need no codes.
    native = replace(CASE, kernels="native")
    assert step_bytes(native) == step_bytes(replace(native, pack_codes=True)) < whole


@pytest.mark.parametrize("unit", [1, 8])
@pytest.mark.parametrize(
    "need",
    [
        lambda batch: 1000 + 40 * batch,
        lambda batch: 1000 + 40 * batch + 5 * max(batch - 100, 0),
        lambda batch: 1000 + 40 * batch + 3000 * (batch > 150),
        lambda batch: 1000 + (40 if batch < 100 else 30) * batch,
    ],
    ids=["linear", "steeper", "step", "flatter"],
)
def test_the_largest_batch_fits_and_a_fiftieth_more_does_not(need, unit):
    batch, used = largest_batch(need, 64, unit, 13_000)
    assert used == need(batch) <= 13_000
    assert batch % unit == 0
    assert need(batch + max(unit, batch // 50 + 1)) > 13_000


def test_what_is_kept_is_compared(monkeypatch):
    def need(case):
        return 1000 + case.batch * (40 - 10 * case.pack_codes - 20 * case.remat)

    monkeypatch.setattr(memory, "step_bytes", need)
    records = list(largest_batches(CASE, 1_000_000))
    assert [record["batch_ratio_to_first"] for record in records] == pytest.approx([1, 4 / 3, 2, 4], rel=0.02)
    assert [(r["remat"], r["pack_codes"]) for r in records] == [
        (v.get("remat", False), v.get("pack_codes", False)) for v in VARIANTS
    ]


def test_memory_without_room_for_the_first_batch_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "step_bytes", lambda case: 2_000_000)
    with pytest.raises(ValueError, match="memory must hold a batch of 64, 2 MB; got 1"):
        next(iter(largest_batches(CASE, 1_000_000)))
