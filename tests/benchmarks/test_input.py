"""Timing the input gives a record per case, on the real path."""

from pathlib import Path

import pytest

from bnnjax.benchmarks.input import time_input
from bnnjax.data import load_imagenet


@pytest.mark.slow
def test_every_case_has_a_record(imagenet_dir: Path) -> None:
    dataset = load_imagenet(imagenet_dir, size=16, workers=0)
    decoding, streaming, waiting = time_input(dataset, model="resnet_tiny", batch=4, repeats=2)
    assert (decoding["case"], streaming["case"], waiting["case"]) == ("decoding", "streaming", "waiting")
    fast, slow = decoding["pillow_images_per_second"], decoding["ours_images_per_second"]
    assert fast > 0
    assert slow > 0
    assert streaming["images_per_second"] > 0
    # A wait is a part of a step.
    assert 0 < waiting["wait_ms"] < waiting["step_ms"]
    assert 0 < waiting["wait_percent_of_all_steps"] < 100
