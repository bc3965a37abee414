"""Timings cover every corruption, and the evaluation of all conditions together."""

from bnnjax.benchmarks import corruptions
from bnnjax.benchmarks.steps import Case


def test_every_corruption_has_a_record(monkeypatch):
    monkeypatch.setattr(corruptions, "CORRUPTIONS", ("contrast", "brightness"))
    records = list(corruptions.time_corruptions(3, 8, 2))
    assert [record["corruption"] for record in records] == ["contrast", "brightness"]
    for record in records:
        assert 0 < record["ms"]["min"] <= record["ms"]["median"] <= record["ms"]["max"]
        # 5 severities of 3 images in the median time.
        assert abs(record["images_per_second"] * record["ms"]["median"] / 1e3 - 15) < 0.1


def test_an_evaluation_is_of_all_conditions(monkeypatch):
    monkeypatch.setattr(corruptions, "CORRUPTIONS", ("contrast", "brightness"))
    record = corruptions.time_evaluation(Case(model="resnet_tiny"), 8, 4)
    assert record["conditions"] == 10
    expected = record["seconds_again"] / 60 * 10_000 / 8
    assert abs(record["minutes_for_10000_images"] - expected) <= 0.05 / 60 * 10_000 / 8 + 0.01
