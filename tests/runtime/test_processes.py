"""Communication between processes, in a single process; `test_distributed` has several."""

import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.runtime.processes import (
    as_first,
    gather,
    in_turn,
    is_first,
    raise_together,
    together,
    tree_as_first,
)


def test_one_process_is_the_first_and_hears_itself() -> None:
    assert is_first()
    np.testing.assert_array_equal(gather([3, -1]), [[3, -1]])
    assert as_first(7) == 7
    tree = {"a": jnp.arange(3)}
    assert tree_as_first(tree) is tree
    assert in_turn(lambda: "done") == "done"


def test_an_error_stays_what_it_was() -> None:
    raise_together(None)
    with pytest.raises(KeyError, match="gone"):
        raise_together(KeyError("gone"))
    with pytest.raises(OSError, match="full"), together():
        raise OSError("full")
    with pytest.raises(ZeroDivisionError):
        in_turn(lambda: 1 / 0)
