"""The rows of the comparison tables with their published accuracies and sources."""

from collections.abc import Sequence
from typing import NamedTuple

CIFAR10, IMAGENET = "IR-Net table 3", "IR-Net table 4"  # Qin et al. 2020, arXiv 1909.10788


class Row(NamedTuple):
    """One row: a configuration to train, and its published accuracy."""

    topology: str
    method: str
    wbits: int
    abits: int
    structure: str  # plain or bireal
    top1: float | None  # percent; None: none is published
    top5: float | None = None
    source: str = ""
    # Where else the number was found; empty if nowhere, in which case the table flags it.
    confirmed_by: str = ""

    @property
    def name(self) -> str:
        """The name by which `--rows` chooses it, e.g. `resnet20-irnet-1-32-plain`."""
        return f"{self.topology}-{self.method}-{self.wbits}-{self.abits}-{self.structure}"


def _rows(source: str, *rows: tuple[str, str, int, int, str, float | None, float | None, str]) -> list[Row]:
    return [Row(*row[:7], source, row[7]) for row in rows]


IRNET, FDA_PAPER, BIREAL = "IR-Net's repository", "FDA-BNN's paper", "Bi-Real Net's repository"
SURVEY, RECU, RBNN = "a survey's plot data", "ReCU's repository", "RBNN's repository"
RESTE, REACTNET = "notes on ReSTE's paper", "ReActNet's repository"

# Rows for which the original names no structure are plain; Bi-Real Net's is its own by definition.
TABLE3 = _rows(
    CIFAR10,
    ("resnet18", "fp", 32, 32, "plain", 93.0, None, ""),
    ("resnet18", "rad", 1, 1, "plain", 90.5, None, ""),
    ("resnet18", "irnet", 1, 1, "plain", 91.5, None, IRNET),
    ("resnet20", "fp", 32, 32, "plain", 91.7, None, ""),
    ("resnet20", "dorefa", 1, 1, "plain", 79.3, None, "a note on DSQ's paper"),
    ("resnet20", "dsq", 1, 1, "plain", 84.1, None, FDA_PAPER),
    ("resnet20", "irnet", 1, 1, "plain", 85.4, None, FDA_PAPER),
    ("resnet20", "irnet", 1, 1, "bireal", 86.5, None, IRNET),
    ("resnet20", "dorefa", 1, 32, "plain", 90.0, None, ""),
    ("resnet20", "lqnet", 1, 32, "plain", 90.1, None, ""),
    ("resnet20", "dsq", 1, 32, "plain", 90.2, None, ""),
    ("resnet20", "irnet", 1, 32, "plain", 90.8, None, IRNET),
    ("vgg_small", "fp", 32, 32, "plain", 91.7, None, ""),
    ("vgg_small", "lab", 1, 1, "plain", 87.7, None, ""),
    ("vgg_small", "xnor", 1, 1, "plain", 89.8, None, FDA_PAPER),
    ("vgg_small", "bnn", 1, 1, "plain", 89.9, None, FDA_PAPER),
    ("vgg_small", "rad", 1, 1, "plain", 90.0, None, ""),
    ("vgg_small", "irnet", 1, 1, "plain", 90.4, None, IRNET),
)
TABLE4 = _rows(
    IMAGENET,
    ("resnet18", "fp", 32, 32, "plain", 69.6, 89.2, FDA_PAPER),
    ("resnet18", "abcnet", 1, 1, "plain", 42.7, 67.6, FDA_PAPER),
    ("resnet18", "xnor", 1, 1, "plain", 51.2, 73.2, FDA_PAPER),
    ("resnet18", "bnnplus", 1, 1, "plain", 53.0, 72.6, SURVEY),
    ("resnet18", "dorefa", 1, 2, "plain", 53.4, None, ""),
    ("resnet18", "birealnet", 1, 1, "bireal", 56.4, 79.5, BIREAL),
    ("resnet18", "xnorplusplus", 1, 1, "plain", 57.1, 79.9, ""),
    ("resnet18", "irnet", 1, 1, "bireal", 58.1, 80.0, IRNET),
    ("resnet18", "sqbwn", 1, 32, "plain", 58.4, 81.6, ""),
    ("resnet18", "bwn", 1, 32, "plain", 60.8, 83.0, "CBP's paper, table 2"),
    ("resnet18", "hwgq", 1, 32, "plain", 61.3, 83.2, ""),
    ("resnet18", "twn", 2, 32, "plain", 61.8, 84.2, "CBP's paper, table 2"),
    ("resnet18", "sqtwn", 2, 32, "plain", 63.8, 85.7, ""),
    ("resnet18", "bwnh", 1, 32, "plain", 64.3, 85.9, ""),
    ("resnet18", "irnet", 1, 32, "plain", 66.5, 86.8, IRNET),
    ("resnet34", "fp", 32, 32, "plain", 73.3, 91.3, ""),
    ("resnet34", "abcnet", 1, 1, "plain", 52.4, 76.5, SURVEY),
    ("resnet34", "birealnet", 1, 1, "bireal", 62.2, 83.9, BIREAL),
    ("resnet34", "irnet", 1, 1, "bireal", 62.9, 84.1, IRNET),
    ("resnet34", "irnet", 1, 32, "plain", 70.4, 89.5, IRNET),
)
# Further methods that users compare with; their numbers have other sources.  On ImageNet the structure is our
# choice, since the sources that we could read state none.
BEYOND3 = [
    Row("resnet18", "rbnn", 1, 1, "plain", 92.2, None, RBNN, RBNN),
    Row("resnet18", "recu", 1, 1, "plain", 92.8, None, RECU, RECU),
    Row("resnet20", "fda", 1, 1, "plain", 86.2, None, FDA_PAPER, FDA_PAPER),
    Row("resnet20", "recu", 1, 1, "plain", 87.5, None, RECU, RECU),
    Row("resnet20", "reste", 1, 1, "plain", 86.75, None, RESTE, RESTE),
    Row("resnet20", "rbnn", 1, 1, "plain", 86.5, None, RBNN, RBNN),
    Row("resnet20", "rbnn", 1, 1, "bireal", 87.8, None, RBNN, RBNN),
    Row("resnet20", "reactnet", 1, 1, "bireal", None),
    Row("vgg_small", "fda", 1, 1, "plain", 92.54, None, FDA_PAPER, FDA_PAPER),
    Row("vgg_small", "rbnn", 1, 1, "plain", 91.3, None, RBNN, RBNN),
    Row("vgg_small", "recu", 1, 1, "plain", 92.2, None, RECU, RECU),
]
BEYOND4 = [
    Row("resnet18", "rbnn", 1, 1, "bireal", 59.9, 81.9, RBNN, RBNN),
    Row("resnet18", "fda", 1, 1, "bireal", 60.2, 82.3, FDA_PAPER, FDA_PAPER),
    Row("resnet18", "reste", 1, 1, "bireal", 60.88, None, RESTE, RESTE),
    Row("resnet18", "recu", 1, 1, "bireal", 60.98, 82.57, RECU, RECU),
    Row("resnet18", "reactnet", 1, 1, "bireal", 65.9, None, REACTNET, REACTNET),
    Row("resnet34", "rbnn", 1, 1, "bireal", 63.1, 84.4, RBNN, RBNN),
    Row("resnet34", "recu", 1, 1, "bireal", 65.1, 85.78, RECU, RECU),
]


class Table(NamedTuple):
    """A comparison table: the rows of its original, and further ones."""

    dataset: str  # of the published numbers
    rows: list[Row]
    beyond: list[Row]


TABLES = {"table3": Table("cifar10", TABLE3, BEYOND3), "table4": Table("imagenet2012", TABLE4, BEYOND4)}


def select(table: Table, words: Sequence[str]) -> list[Row]:
    """Returns the rows that the words choose, in the table's order; without words those of the original.

    Args:
      table: to choose from.
      words: each a row's name, a topology, a method, `beyond` (rows that the original lacks) or `all`.

    Raises:
      ValueError: for a word that chooses nothing.
    """
    if not words:
        return table.rows
    chosen: set[Row] = set()
    for word in words:
        groups = {"all": [*table.rows, *table.beyond], "beyond": table.beyond}
        found = groups.get(word) or [
            row for row in groups["all"] if word in (row.name, row.topology, row.method)
        ]
        if not found:
            raise ValueError(
                f"no row is called {word!r}; allowed are all, beyond, a topology, a method, or one of "
                + ", ".join(row.name for row in groups["all"])
            )
        chosen |= set(found)
    return [row for row in [*table.rows, *table.beyond] if row in chosen]
