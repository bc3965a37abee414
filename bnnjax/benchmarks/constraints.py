"""Cost of constraints: seconds per epoch in training and testing, operations and bytes per step."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from bnnjax.benchmarks.steps import Case, compile_case, median_ratio, time_in_turn
from bnnjax.report.style.formatting import MISSING, duration_text, finite, markdown_table, number_text
from bnnjax.runtime.cache import use_compilation_cache
from bnnjax.runtime.console import say
from bnnjax.runtime.files import write_json, write_text_atomically
from bnnjax.runtime.lock import check_writable
from bnnjax.train.parallel import make_mesh

# By name: changes to a case.  Others are compared with the first.
CONSTRAINTS: dict[str, dict[str, Any]] = {
    "lcr (repo, as published)": {"constraint": "lcr", "second_pass": True},
    "lcr (repo, one pass)": {"constraint": "lcr"},
    "lcr (paper)": {"constraint": "lcr", "lcr_form": "paper"},
    "spectral": {"constraint": "spectral"},
    "l1inf": {"constraint": "l1inf"},
    "none": {},
}

# For comparison with the original's: training 56:08 and 66:37 (0.84), testing 4:49 and 6:30 (0.74).
HEADING = (
    "constraint",
    "train, an epoch",
    "to lcr",
    "to none",
    "test, an epoch",
    "to lcr",
    "to none",
    "logits alone, to none",
    "extra GFLOP a step",
    "extra MB a step",
)


def measure(case: Case, examples: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """Times a step under each constraint, all in turn, `repeats` times, and returns a record for each.

    Records hold `constraint`; `train_ms`, `test_ms` and `predict_ms`, the medians of a step of training, of
    testing (logits and the constraint's penalty) and of prediction (logits only); the first two also as
    seconds per epoch in `train_seconds` and `test_seconds`, and as medians of the ratios to the first
    constraint and to none, in `train_to_lcr`, `train_to_none` and so on; `flops` and `bytes` of a training
    step by XLA's cost analysis, None where it gives none.

    Args:
      case: model, method, batch and precision.
      examples: images in an epoch of training and of testing.
      repeats: timed steps.
    """
    compiled = [compile_case(replace(case, **changes)) for changes in CONSTRAINTS.values()]
    times = time_in_turn([step for one in compiled for step in (one.train, one.watch, one.predict)], repeats)
    kinds = {"train": times[::3], "test": times[1::3], "predict": times[2::3]}
    epoch = {name: count / case.batch for name, count in zip(("train", "test"), examples, strict=True)}
    return [
        {
            "constraint": name,
            **{f"{kind}_ms": 1e3 * statistics.median(each[n]) for kind, each in kinds.items()},
            **{f"{kind}_seconds": steps * statistics.median(kinds[kind][n]) for kind, steps in epoch.items()},
            **{f"{kind}_to_lcr": median_ratio(each[n], each[0]) for kind, each in kinds.items()},
            **{f"{kind}_to_none": median_ratio(each[n], each[-1]) for kind, each in kinds.items()},
            "flops": one.flops,
            "bytes": one.bytes_accessed,
        }
        for n, (name, one) in enumerate(zip(CONSTRAINTS, compiled, strict=True))
    ]


def overhead_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns the table in Markdown; the last record is that of no constraint."""
    bare = records[-1]

    def extra(record: Mapping[str, Any], key: str, unit: float) -> str:
        own, none = finite(record[key]), finite(bare[key])
        return MISSING if own is None or none is None else number_text((own - none) / unit, ".3f")

    rows = [
        [
            record["constraint"],
            duration_text(record["train_seconds"]),
            *(number_text(record[key], ".3f") for key in ("train_to_lcr", "train_to_none")),
            duration_text(record["test_seconds"]),
            *(number_text(record[key], ".3f") for key in ("test_to_lcr", "test_to_none", "predict_to_none")),
            extra(record, "flops", 1e9),
            extra(record, "bytes", 1e6),
        ]
        for record in records
    ]
    return markdown_table(HEADING, rows)


def prepare_overhead(
    case: Case, examples: Sequence[int], repeats: int, place: Path
) -> Callable[[Console], int]:
    """Returns the work: overhead.md and overhead.json in `place`, and the table on the console.

    Raises:
      ValueError: if the batch cannot be split evenly over all devices, or `place` cannot be written.
    """
    make_mesh(case.batch)
    check_writable(place)
    use_compilation_cache()

    def work(console: Console) -> int:
        records = measure(case, examples, repeats)
        table = overhead_table(records)
        device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
        page = (
            f"{case.model}, {case.method}, batch {case.batch}, {case.precision}; {device}, "
            f"jax {jax.__version__}; medians of {repeats} steps, taken in turn; an epoch is {examples[0]:,} "
            f"training and {examples[1]:,} test images.\n\n{table}"
        )
        write_json(place / "overhead.json", records)
        write_text_atomically(place / "overhead.md", page)
        say(console, page)
        return 0

    return work
