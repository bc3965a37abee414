"""Every method in every topology, with and without the constraint: a step fits.

Nothing is compiled; that steps learn is tested with one small network per method.
"""

from itertools import product
from typing import Any

import jax
import pytest
from noise import noise

from bnnjax.config.constraints import L1InfConfig
from bnnjax.config.training import Config
from bnnjax.methods import METHODS, make_method
from bnnjax.runs.resolve import resolve
from bnnjax.runs.setup import make_setup
from bnnjax.train.parallel import compile_task, make_mesh
from bnnjax.train.step import Images

BATCH, EXAMPLES = 4, 8
DATASET = noise(EXAMPLES)
NETWORKS = [("resnet_tiny", "plain"), ("resnet_tiny", "bireal"), ("vgg_tiny", None)]
CASES = [
    pytest.param(
        method,
        model,
        structure,
        constraint,
        # By default one case a method, and every topology, with and without the constraint.
        marks=() if (place + number) % 6 == 0 else pytest.mark.slow,
    )
    for place, method in enumerate(METHODS)
    for number, (constraint, (model, structure)) in enumerate(product(("none", "l1inf"), NETWORKS))
]


@pytest.mark.parametrize(("method", "model", "structure", "constraint"), CASES)
def test_a_step_gives_back_a_state_of_the_same_shape(
    method: str, model: str, structure: str | None, constraint: str
) -> None:
    step_of(method=method, model=model, structure=structure, constraint=constraint)


QUICK = {("floor", "reactnet", "resnet_tiny"), ("agreement", "irnet", "vgg_tiny")}
FORMS = [
    pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
    for case in product(("init", "floor", "agreement", "reach"), METHODS, ("resnet_tiny", "vgg_tiny"))
    if case[0] != "reach" or make_method(case[1]).takes_signs_at_zero
]


@pytest.mark.parametrize(("form", "method", "model"), FORMS)
def test_a_step_under_each_form_of_the_constraint(form: Any, method: str, model: str) -> None:
    step_of(method=method, model=model, constraint="l1inf", l1inf=L1InfConfig(form=form))


def step_of(**fields: Any) -> None:
    """Takes a step in shapes alone."""
    config = Config(**fields, batch_size=BATCH, epochs=4)
    setup = make_setup(resolve(config), DATASET)
    compiled = compile_task(setup.task, make_mesh(BATCH, jax.devices()[:1]), BATCH, EXAMPLES)
    key = jax.random.key(0)
    state = jax.eval_shape(compiled.init, key).train
    data = Images(DATASET.train.images, DATASET.train.labels)
    after = jax.eval_shape(compiled.train, state, data, jax.eval_shape(compiled.order, key, 0), key)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state
    )
