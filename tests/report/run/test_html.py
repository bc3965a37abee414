"""The page of a run is self-contained, reports the results, and is written whole."""

import base64
import io
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pages import Page, write_run_page
from PIL import Image

from bnnjax.report.run.captions import confusion_caption, headline, warnings
from bnnjax.report.style import plots


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, fake_run: Callable) -> tuple[Path, Page]:
    path = write_run_page(tmp_path_factory.mktemp("run"), **fake_run(epochs=3, units=5, off=(2,))._asdict())
    return path, Page(path.read_text("utf-8"))


@pytest.fixture
def _no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws the figures but leaves out the slow part, for tests that look at the words only."""
    monkeypatch.setattr(plots, "png_bytes", lambda figure: b"png")


def test_nothing_comes_from_outside(page: tuple[Path, Page]) -> None:
    path, parsed = page
    references = [
        value
        for _, attributes in parsed.tags
        for name, value in attributes.items()
        if name in ("src", "srcset", "href", "data", "poster", "action")
    ]
    assert len(references) == 8  # four plots, light and dark
    assert all(value and value.startswith("data:image/png;base64,") for value in references)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in parsed.tags}
    assert not re.search(r"url\(|@import|https?://", path.read_text("utf-8"))


def test_the_pngs_are_whole_and_the_same_as_in_the_page(page: tuple[Path, Page]) -> None:
    path, parsed = page
    inside = [attributes["src"] for tag, attributes in parsed.tags if tag == "img"]
    for name, source in zip(("curves", "bounds", "examples", "confusion"), inside, strict=True):
        data = (path.parent / f"{name}.png").read_bytes()
        assert source == "data:image/png;base64," + base64.b64encode(data).decode()
        image = Image.open(io.BytesIO(data)).convert("L")
        assert image.width == 1600
        assert image.height >= 250
        assert np.asarray(image).std() > 5
        assert len(data) < 1_000_000
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        "bounds.png", "confusion.png", "curves.png", "examples.png", "report.html",
    ]  # fmt: skip


def test_the_page_says_the_result_and_its_limits(page: tuple[Path, Page], fake_run: Callable) -> None:
    text = page[1].text()
    assert "reactnet (1/1 bits) with the l1inf constraint reaches 84.37% test accuracy on cifar10" in text
    assert "The true sign has no Lipschitz constant" in text
    assert "never a certificate" in text
    assert "1 unit of 5 is dead" in text
    for part in (
        fake_run(units=5).units[1]["unit"],
        "3f2a91c0d5",
        "NVIDIA H100",
        "0.10.2",
        "python -m bnnjax.train",
        "warmup_epochs",
    ):
        assert part in text
    assert all(attributes.get("alt") for tag, attributes in page[1].tags if tag == "img")


@pytest.mark.usefixtures("_no_pixels")
def test_values_are_escaped(tmp_path: Path, fake_run: Callable) -> None:
    run = fake_run(epochs=1, units=2)
    evil = '<script>alert("x")</script>&'
    run.units[0]["unit"] = evil
    path = write_run_page(
        tmp_path,
        config={evil: {evil: evil}},
        metrics=run.metrics,
        summary=dict.fromkeys(run.summary, evil) | {evil: evil, "versions": {evil: evil}},
        units=run.units,
        examples=run.examples._replace(class_names=(evil,) * 10),
        confusion=run.confusion,
    )
    content = path.read_text("utf-8")
    assert "<script" not in content
    assert content.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;") > 10
    assert evil in Page(content).text()


def test_a_run_with_next_to_nothing(tmp_path: Path) -> None:
    path = write_run_page(
        tmp_path, config={}, metrics=[], summary={}, units=[], examples=None, confusion=None
    )
    text = Page(path.read_text("utf-8")).text()
    assert "no accuracy was recorded" in text
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.usefixtures("_no_pixels")
def test_a_run_that_diverged(tmp_path: Path, fake_run: Callable) -> None:
    run = fake_run(epochs=3, units=3)
    run.metrics[1]["loss"] = None  # what metrics.jsonl keeps of NaN
    run.metrics[2]["loss"] = math.nan
    run.units[0] |= {
        "l1inf": math.nan,
        "tightness": math.nan,
        "spectral": math.inf,
        "spectral_bound": math.inf,
    }
    summary = run.summary | {"test_accuracy": math.nan, "log_lipschitz_bound": math.inf}
    path = write_run_page(tmp_path, **(run._asdict() | {"summary": summary}))
    text = Page(path.read_text("utf-8")).text()
    assert "test accuracy is not finite; its Lipschitz bound is not finite." in text
    assert "The loss was not finite in 2 epochs, first in epoch 2." in text


@pytest.mark.usefixtures("_no_pixels")
def test_a_plot_that_fails_leaves_the_old_report(tmp_path: Path, fake_run: Callable) -> None:
    run = fake_run(epochs=1, units=2)
    path = write_run_page(tmp_path, **run._asdict())
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="square matrix"):
        write_run_page(tmp_path, **(run._asdict() | {"confusion": np.ones((2, 3))}))
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before
    assert path.exists()


@pytest.mark.usefixtures("_no_pixels")
def test_a_full_disk_leaves_the_old_report(
    tmp_path: Path, fake_run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = fake_run(epochs=1)._asdict() | {"units": [], "examples": None, "confusion": None}
    path = write_run_page(tmp_path, **arguments)
    before = path.read_bytes()
    rename = os.replace

    def fail_on_the_page(source: Path, target: Path) -> None:
        if Path(target).name == "report.html":
            raise OSError("no space left")
        rename(source, target)

    monkeypatch.setattr(os, "replace", fail_on_the_page)
    with pytest.raises(OSError, match="no space left"):
        write_run_page(tmp_path, **(arguments | {"summary": {}}))
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("summary", "sentence"),
    [
        ({"method": "bnn", "constraint": "none", "dataset": "digits", "test_accuracy": 91.5},
         "bnn without a constraint reaches 91.50% test accuracy on digits."),
        ({"method": "bnn", "constraint": "lcr", "dataset": "digits", "validation_accuracy": 90.0,
          "log_lipschitz_bound": -2.04},
         "bnn with the lcr constraint reaches 90.00% validation accuracy on digits; "
         "the log Lipschitz bound of its surrogate is -2.0 nats."),
    ],
)  # fmt: skip
def test_headline(summary: dict, sentence: str) -> None:
    assert headline(summary) == sentence


def test_no_warning_when_all_is_well(fake_run: Callable) -> None:
    run = fake_run()
    assert warnings(run.summary, run.metrics, run.units) == []
    assert warnings({"units_off": 2}, [], [])[0].startswith("2 units are dead")


def test_confusion_caption_names_the_worst_pair() -> None:
    confusion = np.array([[8, 2, 0], [0, 10, 0], [1, 0, 9]])
    assert "20.0% of the images of class a are taken for b." in confusion_caption(confusion, ("a", "b", "c"))
    assert confusion_caption(np.eye(2), ()).endswith("There is no mistake.")
