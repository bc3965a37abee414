"""What constraints cost as a table; records are those of `bnnjax.benchmarks.constraints`."""

from collections.abc import Mapping, Sequence
from typing import Any

from bnnjax.report.style.formatting import MISSING, duration_text, finite, markdown_table, number_text

# A reader compares with the original's: training 56:08 and 66:37 (0.84), testing 4:49 and 6:30 (0.74).
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
