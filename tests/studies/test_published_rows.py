"""All rows of the comparison tables can be trained, and are found by the names that users type."""

import pytest

from bnnjax.methods import make_method
from bnnjax.models import make_model
from bnnjax.studies.published_rows import TABLES, Row, select

ROWS = [row for table in TABLES.values() for row in [*table.rows, *table.beyond]]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("stem", ["", "_imagenet"])
def test_every_row_is_a_network_that_can_be_made(row: Row, stem: str) -> None:
    method = make_method(row.method, row.wbits, row.abits)
    assert (method.wbits, method.abits) == (row.wbits, row.abits)
    if row.topology.startswith("resnet") and row.topology != "resnet20":
        make_model(row.topology + stem, method, structure=row.structure, classes=10)
    elif not stem:
        make_model(row.topology, method, structure=row.structure, classes=10)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_names_are_unique_and_numbers_are_percentages_with_a_source(table) -> None:
    rows = [*table.rows, *table.beyond]
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.top1 is None or 30 < row.top1 < 95
        assert row.top5 is None or (row.top1 is not None and row.top1 < row.top5 < 95)
        assert bool(row.source) == (row.top1 is not None)
        assert row.source or not row.confirmed_by
    assert all(row.top1 is not None for row in table.rows)


def test_the_tables_hold_what_the_originals_print() -> None:
    table3, table4 = TABLES["table3"].rows, TABLES["table4"].rows
    assert (
        " ".join(dict.fromkeys(row.method for row in table3)) == "fp rad irnet dorefa dsq lqnet lab xnor bnn"
    )
    assert " ".join(dict.fromkeys(row.method for row in table4)) == (
        "fp abcnet xnor bnnplus dorefa birealnet xnorplusplus irnet sqbwn bwn hwgq twn sqtwn bwnh"
    )
    assert [len(table3), len(table4)] == [18, 20]
    published = {row.name: (row.top1, row.top5) for row in [*table3, *table4]}
    assert published["resnet20-irnet-1-1-bireal"] == (86.5, None)
    assert published["vgg_small-lab-1-1-plain"] == (87.7, None)
    assert published["resnet18-dorefa-1-2-plain"] == (53.4, None)
    assert published["resnet34-irnet-1-1-bireal"] == (62.9, 84.1)


def test_rows_are_chosen_by_name_topology_or_method_and_keep_the_tables_order() -> None:
    table = TABLES["table3"]
    assert select(table, []) == table.rows
    assert select(table, ["all"]) == [*table.rows, *table.beyond]
    assert select(table, ["beyond"]) == table.beyond
    (one,) = select(table, ["resnet20-irnet-1-32-plain"])
    assert one == Row(
        "resnet20", "irnet", 1, 32, "plain", 90.8, None, "IR-Net table 3", "IR-Net's repository"
    )
    chosen = select(table, ["irnet", "resnet18", "irnet"])
    assert chosen == [
        row for row in [*table.rows, *table.beyond] if row.topology == "resnet18" or row.method == "irnet"
    ]
    with pytest.raises(ValueError, match=r"no row is called 'resnet19'; allowed are all, beyond, .*irnet"):
        select(table, ["irnet", "resnet19"])
