"""Timing of kernels: a record for each layer, pass and implementation."""

import pytest

from bnnjax.benchmarks import kernels
from bnnjax.native import library


def test_each_layer_pass_and_implementation_has_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "LAYERS", ((8, 4), (5, 6)))
    names = kernels.implementations()
    records = list(kernels.time_kernels(names, batch=2, repeats=1))
    found = [tuple(record[key] for key in ("size", "pass", "implementation")) for record in records]
    passes = ("convolution", "input_gradient", "kernel_gradient")
    assert found == [(size, step, name) for size in (8, 5) for step in passes for name in ("xla", *names)]
    for record in records:
        products = 2 * record["size"] ** 2 * 9 * record["channels"] ** 2
        assert record["gmacs_per_second"] == pytest.approx(products / record["ms"]["median"] / 1e6, abs=0.06)


def test_without_kernels_there_is_nothing_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "kernels", lambda: "xla")
    with pytest.raises(ValueError, match=r"^there are no kernels to time"):
        kernels.implementations()
