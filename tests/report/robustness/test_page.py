"""The page of a robustness evaluation is self-contained, reports the measurements, and is written whole."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pages import Page, write_run_page
from PIL import Image

from bnnjax.report.robustness.page import differences, headline, write_robustness_page
from bnnjax.report.style import plots

FEATURES = [
    {
        "label": "a",
        "corruption": "fog",
        "severity": 3,
        "images": 10,
        "units": {"stem": {"relative_difference": [[0.1, 0.2], [0.3, 0.4]], "flips_percent": 5.0}},
    }
]


@pytest.fixture
def _no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws the figures but leaves out the slow part, for tests that look at the words only."""
    monkeypatch.setattr(plots, "png_bytes", lambda figure: b"png")


def test_everything_is_on_the_page_and_nothing_from_outside(
    tmp_path: Path, fake_robustness: Callable, fake_corrupted: Callable
) -> None:
    names = ("gaussian_noise", "fog", "saturate")
    path = write_robustness_page(
        tmp_path / "new",
        [fake_robustness(number, names=names) for number in range(3)],
        fake_corrupted(names),
        FEATURES,
        "<section><h2>Attacks</h2></section>",
        command=["python", "evaluate.py", "--images=1234"],
        about={"git revision": "3f2a91c0d5"},
    )
    content = path.read_text("utf-8")
    page = Page(content)
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        "corrupted.png", "feature_study.png", "robustness.html", "robustness_map.png", "severity_curves.png",
    ]  # fmt: skip
    for picture in path.parent.glob("*.png"):
        assert Image.open(io.BytesIO(picture.read_bytes())).width == 1600
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == [
        "Accuracy against severity",
        "Accuracy by corruption and severity",
        "What the noise does to an image",
        "Where noise changes the feature maps",
    ]
    sources = [attributes["srcset"] for tag, attributes in page.tags if tag == "source"]
    assert len({*sources, *(image["src"] for image in images)}) == 8  # light and dark differ
    assert not re.search(r"url\(|@import|https?://|<script", content)
    assert "<section><h2>Attacks</h2></section>" in content
    text = page.text()
    for part in (
        "Of 3 runs irnet, l1inf, seed 0 keeps the most: 65.50% mean accuracy under noise "
        "(2 corruptions at severities 1, 2, 3, 4, 5), 83.00% without.",
        "mCE against irnet, none, seed 0",
        "python evaluate.py --images=1234",
        "3f2a91c0d5",
        "Over seeds",
    ):
        assert part in text
    # The mean of places 0 and 9, and of 4 times the severity
    assert ["irnet, none, seed 0", "resnet20", "81.00", "63.50", "63.0 to 63.8"] in [
        row[:5] for row in page.rows
    ]
    assert ["irnet, none, seed 0", "resnet20", "68.00", "59.00"] in page.rows  # by group
    assert ["resnet20, irnet, none", "2", "81.50 ± 0.71"] in [row[:3] for row in page.rows]
    assert ["noise", "made from the test images of CIFAR-10"] in page.rows
    assert ["images", "1,234"] in page.rows


@pytest.mark.usefixtures("_no_pixels")
def test_a_single_run_has_a_strip_and_no_more_than_there_is(
    tmp_path: Path, fake_robustness: Callable
) -> None:
    path = write_robustness_page(tmp_path, [fake_robustness(0)])
    text = Page(path.read_text("utf-8")).text()
    assert "irnet, none, seed 0 reaches 61.00% mean accuracy under noise" in text
    assert "hardest 50.0% saturate" in text
    for absent in ("Over seeds", "What the noise does", "feature maps"):
        assert absent not in text


@pytest.mark.usefixtures("_no_pixels")
def test_words_are_escaped(tmp_path: Path, fake_robustness: Callable) -> None:
    evil = '<script>alert("x")</script>&'
    words = dict.fromkeys(("label", "model", "method", "constraint", "source", "baseline", "run"), evil)
    path = write_robustness_page(tmp_path, [fake_robustness(0, **words)], command=evil, about={evil: evil})
    assert "<script" not in path.read_text("utf-8")
    assert evil in Page(path.read_text("utf-8")).text()


@pytest.mark.usefixtures("_no_pixels")
def test_what_cannot_be_drawn_leaves_the_old_page(
    tmp_path: Path, fake_robustness: Callable, fake_corrupted: Callable
) -> None:
    records = [fake_robustness(0)]
    path = write_robustness_page(tmp_path, records)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="at least one record"):
        write_robustness_page(tmp_path, [])
    with pytest.raises(ValueError, match="uint8"):
        write_robustness_page(tmp_path, [fake_robustness(1)], {"fog": {"1": np.zeros((4, 4, 3))}})
    with pytest.raises(ValueError, match="records with units"):
        write_robustness_page(tmp_path, [fake_robustness(1)], features=[FEATURES[0] | {"units": {}}])
    assert {entry.name: entry.read_bytes() for entry in path.parent.iterdir()} == before


def test_what_makes_runs_hard_to_compare_is_said(fake_robustness: Callable) -> None:
    first = fake_robustness(0)
    assert differences([first, fake_robustness(1)]) == []
    found = differences([first, fake_robustness(1, examples=10, source="elsewhere", baseline="other")])
    assert found == [
        "The runs were measured on different numbers of images: 1234; 10.",
        "The runs were measured on different sources of noise: "
        "made from the test images of CIFAR-10; elsewhere.",
        "mCE is against different baselines: irnet, none, seed 0; other.",
    ]
    none = fake_robustness(0, mean_corruption_accuracy=None)
    assert headline([none]).startswith("No accuracy under noise was recorded")


@pytest.mark.usefixtures("_no_pixels")
def test_the_page_of_a_run_shows_its_accuracy_under_noise(
    tmp_path: Path, fake_run: Callable, fake_robustness: Callable, fake_corrupted: Callable
) -> None:
    run = fake_run(epochs=2, units=2)._asdict()
    write_run_page(tmp_path / "without", **run)
    path = write_run_page(
        tmp_path / "with",
        **run,
        robustness=fake_robustness(0, severities=("1", "3")),
        corrupted=fake_corrupted(severities="013"),
    )
    page = Page(path.read_text("utf-8"))
    text = page.text()
    assert "accuracy under noise 65.00% lost to noise 16.0 points hardest noise 54.0% saturate" in text
    assert "The quick version, on 1,234 test images and at severities 1, 3" in text
    assert ["worst three", "saturate (54.0%), spatter (55.0%), gaussian blur (56.0%)"] in page.rows
    assert sum(tag == "img" for tag, _ in page.tags) == 6
    names = [{entry.name for entry in (tmp_path / folder).iterdir()} for folder in ("without", "with")]
    assert names[1] - names[0] == {"noise.png", "corrupted.png"}
    assert "under noise" not in (tmp_path / "without" / "report.html").read_text("utf-8")
    with pytest.raises(ValueError, match="uint8"):
        write_run_page(
            tmp_path / "no",
            **run,
            robustness=fake_robustness(0),
            corrupted={"fog": {"1": np.ones((2, 2, 3))}},
        )
    assert not (tmp_path / "no").exists()
