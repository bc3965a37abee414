"""Training that keeps less for its backward pass has the same gradients and takes the same steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.benchmarks.steps import random_images
from bnnjax.config.training import Config
from bnnjax.methods import Training, make_method
from bnnjax.models.network import Network
from bnnjax.models.resnet import ResNet
from bnnjax.models.vgg import VGG
from bnnjax.runs.resolve import resolve
from bnnjax.runs.setup import make_setup
from bnnjax.train.parallel import compile_task, make_mesh, replicate
from bnnjax.train.step import Images

BATCH = 8
# As runs are compiled, unlike other tests: what is fused decides over the last bits.
AS_RUNS = {"xla_cpu_use_fusion_emitters": True} if jax.__version_info__ < (0, 11) else {}
RESNET = {"widths": (8,), "blocks": (1,), "projection": True, "stem": "imagenet"}


def assert_close(ours, plain, tolerance):
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=jax.tree_util.keystr(path))


def pass_of(kind, method, **keeping):
    """Returns loss, batch statistics and gradients of a small network in training."""
    model = kind(method=method, classes=3, **keeping)
    network = Network(model, method, (12, 12, 3))
    images = jax.random.normal(jax.random.key(1), (4, 12, 12, 3))
    training = Training(jax.random.key(2), jnp.bool_(True))
    context = network.context(0.5)._replace(training=training)

    def loss(params, batch_stats):
        logits, new, collected = network.apply(params, batch_stats, images, context, True)
        l1 = sum(jnp.sum(unit.l1 * unit.gain) for unit in collected.units.values())
        return jnp.sum(logits**2) + 1e-3 * l1 + collected.layer_loss, new

    arrays = jax.jit(network.init)(jax.random.key(0))
    step = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=AS_RUNS)
    return jax.device_get(step(*arrays))


def resnet(**values):
    return ResNet(structure="bireal", **RESNET, **values)


def vgg(**values):
    return VGG(widths=(8, 8, 8), **values)


# Random numbers by layer, memory, what layers add to the loss, learned activations, and pooling units.
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (resnet, "sqbwn"),
        pytest.param(vgg, "irnet", marks=pytest.mark.slow),
        *(pytest.param(resnet, name, marks=pytest.mark.slow) for name in ("lqnet", "rad", "reactnet")),
    ],
)
def test_blocks_that_are_computed_again_have_the_same_gradients(kind, name):
    method = make_method(name)
    assert_close(pass_of(kind, method, remat=True), pass_of(kind, method), 1e-5)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (resnet, "dorefa"),
        pytest.param(resnet, "abcnet", marks=pytest.mark.slow),
        pytest.param(vgg, "irnet", marks=pytest.mark.slow),
    ],
)
def test_codes_kept_as_bits_give_the_same_gradients_bit_by_bit(kind, name):
    method = make_method(name, abits=1)
    assert_close(pass_of(kind, method, pack_codes=True), pass_of(kind, method), 0)


def trained(**values):
    """Returns the whole state after two steps of a run."""
    config = resolve(Config(**{"batch_size": BATCH, "epochs": 10, "model": "resnet_tiny", **values}))
    dataset, mesh = random_images(2 * BATCH, size=8), make_mesh(BATCH)
    compiled = compile_task(make_setup(config, dataset).task, mesh, BATCH, 2 * BATCH)
    key = replicate(mesh, jax.random.key(0))
    state = compiled.init(key).train
    images, labels = dataset.train.images, dataset.train.labels
    data = replicate(mesh, Images(jnp.asarray(images), jnp.asarray(labels), {}))
    for _ in range(2):
        state = compiled.train(state, data, compiled.order(key, 0), key)
    return jax.device_get(state)


@pytest.mark.slow
def test_a_run_of_gradients_of_gradients_in_parts_takes_the_same_steps_with_both():
    values = {"constraint": "gradpenalty", "method": "xnor", "accumulate": 2}
    plain = trained(**values)
    assert np.isfinite(plain.totals.loss)
    assert_close(trained(**values, remat=True, pack_codes=True), plain, 1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hwgq", "pack_codes is for 1-bit activations of two values; those of method hwgq have 2 bits"),
        ("fp", "those of method fp have 32 bits"),
        ("fda", "those of method fda have 1 bits and noise added"),
    ],
)
def test_codes_that_do_not_fit_into_a_bit_are_refused(name, message):
    config = resolve(Config(method=name, pack_codes=True, batch_size=BATCH))
    with pytest.raises(ValueError, match=message):
        make_setup(config, random_images(BATCH))
