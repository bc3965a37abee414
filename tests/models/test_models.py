"""Networks: published parameter counts, shapes, chains, training from degenerate weights, projection."""

from typing import get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import network_context

from bnnjax.bounds.chain import Residual, Slope, unit_names
from bnnjax.config.constraints import L1InfConfig
from bnnjax.config.names import ModelName
from bnnjax.constraints import After, Seen, l1inf
from bnnjax.methods import METHODS, make_method
from bnnjax.models import RESNETS, VGGS, make_model
from bnnjax.models.network import latents_by_unit
from bnnjax.nn.layers import ACTIVATIONS
from bnnjax.nn.units import KERNELS, STAGES, UNITS, by_unit, by_unit_of_layer, in_order, replace_gains
from bnnjax.ops.smoothing import binomial_blur

CIFAR, DIGITS = (32, 32, 3), (8, 8, 1)
BLOCKS = ("stage1_block1", "stage2_block1")  # of resnet_tiny


def abstract(name, method_name, structure=None, image=CIFAR, dtype=jnp.float32, train=True, classes=10):
    """Returns the model, its logits, variables and records as shapes, without computing anything."""
    method = make_method(method_name)
    model = make_model(name, method, structure=structure, classes=classes)

    def init_and_apply(key):
        x, context = jnp.zeros((4, *image), dtype), network_context(method, 0.0)
        variables = model.init(key, x, context, False)
        variables = {key: variables[key] for key in ("params", "batch_stats")}
        mutable = ["batch_stats", UNITS, KERNELS]
        return variables, *model.apply(variables, x, context, train, mutable=mutable)

    return model, *jax.eval_shape(init_and_apply, jax.random.key(0))


def initial(model, x, context):
    """Returns variables as training starts with them, drawn by NumPy, which compiles nothing."""
    shapes = jax.eval_shape(lambda key: model.init(key, x, context, False), jax.random.key(0))
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if path[-1].key in ("latent", "kernel"):
            value = rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        else:
            value = np.full(leaf.shape, float(path[-1].key in ("gain", "variance")))
        return jnp.asarray(value, leaf.dtype)

    return {key: jax.tree_util.tree_map_with_path(fill, shapes[key]) for key in ("params", "batch_stats")}


# Kernels, then 2 per channel of batch norm.  The published counts have no batch norm before the classifier.
#   resnet20    stem 432+32; stage 1 6(2304+32) = 14,016; stage 2 4608+64+5(9216+64) = 51,072; stage 3
#               18,432+128+5(36,864+128) = 203,520; classifier 650: 269,722 (He et al., option A); + 128
#   resnet18    stem 1728+128; stages 4(36,864+128) = 147,968; 73,728+3(147,456)+4(256)+8192+256 = 525,568;
#               294,912+3(589,824)+4(512)+32,768+512 = 2,099,712; 1,179,648+3(2,359,296)+4(1024)+131,072+1024
#               = 8,393,728; classifier 5130: 11,173,962 (the usual CIFAR ResNet-18); + 1024
#   resnet34    21,282,122 (the usual CIFAR ResNet-34); + 1024.  The last two: torchvision's, of 1000 classes
#   vgg_small   3456+147,456+294,912+589,824+1,179,648+2,359,296 = 4,574,592; batch norms 2 x 1792 = 3584;
#               classifier 4 x 4 x 512 x 10 + 10 = 81,930
#   resnet_tiny stem 216+16; stage 1 2(576+16) = 1184; stage 2 1152+32+2304+32+128+32 = 3680; classifier
#               32+170
#   vgg_tiny    216+576+1152+2304+4608+9216 = 18,072; batch norms 2 x 112 = 224; classifier 5130
COUNTS = {
    "resnet20": 269_722 + 128,
    "resnet18": 11_173_962 + 1024,
    "resnet34": 21_282_122 + 1024,
    "resnet18_imagenet": 11_689_512 + 1024,
    "resnet34_imagenet": 21_797_672 + 1024,
    "vgg_small": 4_574_592 + 3584 + 81_930,
    "resnet_tiny": 232 + 1184 + 3680 + 202,
    "vgg_tiny": 18_072 + 224 + 5130,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_as_many_as_published(name):
    image, classes = ((224, 224, 3), 1000) if name.endswith("_imagenet") else (CIFAR, 10)
    _, variables, logits, filled = abstract(name, "fp", image=image, classes=classes)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == COUNTS[name]
    chex.assert_shape(logits, (4, classes))
    chex.assert_type(jax.tree.leaves((variables, logits, filled)), jnp.float32)


@pytest.mark.parametrize("structure", ["plain", "bireal"])
def test_structure_does_not_change_the_parameters(structure):
    _, variables, _, _ = abstract("resnet20", "irnet", structure)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == COUNTS["resnet20"]


def test_configuration_lists_exactly_the_models():
    assert set(get_args(ModelName)) == {*RESNETS, *VGGS} == set(COUNTS)


@pytest.mark.parametrize("image", [CIFAR, DIGITS], ids=["32x32x3", "8x8x1"])
@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("resnet_tiny", "plain"),
        ("resnet_tiny", "bireal"),
        ("vgg_tiny", None),
        ("resnet20", None),
        ("resnet18_imagenet", None),
        ("vgg_small", None),
    ],
)
def test_chain_names_exactly_the_units_that_the_network_records(name, structure, image):
    model, _, _, filled = abstract(name, "irnet", structure, image)
    names = list(unit_names(model.chain))
    assert len(names) == len(set(names))
    assert set(names) == by_unit(filled[UNITS]).keys() == by_unit(filled[KERNELS]).keys()


# What comes out of each stage: pixels in a row, channels.
STAGE_SHAPES = {
    "resnet20": [(32, 16), (16, 32), (8, 64)],
    "resnet18": [(32, 64), (16, 128), (8, 256), (4, 512)],
    "resnet34": [(32, 64), (16, 128), (8, 256), (4, 512)],
    "resnet18_imagenet": [(8, 64), (4, 128), (2, 256), (1, 512)],
    "resnet34_imagenet": [(8, 64), (4, 128), (2, 256), (1, 512)],
    "vgg_small": [(16, 128), (8, 256), (4, 512)],
    "resnet_tiny": [(32, 8), (16, 16)],
    "vgg_tiny": [(16, 8), (8, 16), (4, 32)],
}


@pytest.mark.parametrize("name", COUNTS)
def test_stages_and_activations_are_recorded_where_they_are_asked_for(name):
    method = make_method("irnet")
    model = make_model(name, method, classes=10)
    context = network_context(method, 0.0)

    def apply(key, mutable):
        x = jnp.zeros((4, *CIFAR))
        variables = model.init(key, x, context, False)
        variables = {key: variables[key] for key in ("params", "batch_stats")}
        return variables, model.apply(variables, x, context, False, mutable=mutable)[1]

    key = jax.random.key(0)
    variables, filled = jax.eval_shape(lambda key: apply(key, [STAGES, ACTIVATIONS]), key)
    stages = in_order(filled[STAGES])
    assert [stage.shape for stage in stages] == [(4, size, size, c) for size, c in STAGE_SHAPES[name]]
    both = by_unit_of_layer(filled[ACTIVATIONS])
    latents = latents_by_unit(variables["params"])
    assert both.keys() == latents.keys() < set(unit_names(model.chain))
    for unit, (x, codes) in both.items():
        assert x.shape == codes.shape
        assert x.shape[-1] == latents[unit].shape[2]
    nothing = jax.eval_shape(lambda key: apply(key, [UNITS]), key)[1]
    assert nothing.keys() == {UNITS}


def test_a_stage_ends_with_its_last_block_and_activations_are_inputs_and_their_signs():
    method = make_method("irnet")
    model = make_model("resnet_tiny", method, classes=10)
    x, context = jax.random.normal(jax.random.key(1), (4, *DIGITS)), network_context(method, 0.0)
    variables = initial(model, x, context)

    @jax.jit
    def apply(variables):
        _, filled = model.apply(
            variables,
            x,
            context,
            False,
            mutable=[STAGES, ACTIVATIONS],
            capture_intermediates=lambda module, _: module.name in ("stem", *BLOCKS, "conv1"),
        )
        return filled

    filled = apply(variables)
    inner = filled["intermediates"]
    outputs = [inner[name]["__call__"][0] for name in ("stem", *BLOCKS)]
    for stage, block in zip(in_order(filled[STAGES]), outputs[1:], strict=True):
        np.testing.assert_array_equal(stage, block)
    both = by_unit_of_layer(filled[ACTIVATIONS])
    for before, block in zip(outputs, BLOCKS, strict=False):
        np.testing.assert_array_equal(both[f"{block}/conv1"][0], before)
        np.testing.assert_array_equal(both[f"{block}/conv2"][0], inner[block]["conv1"]["__call__"][0])
    for before, codes in both.values():
        np.testing.assert_array_equal(codes, np.where(np.asarray(before) >= 0, 1, -1))


@pytest.mark.parametrize(("method", "count"), [("fp", 0), ("bwn", 0), ("hwgq", 4), ("dorefa", 4)])
def test_only_layers_that_quantize_their_input_record_it(method, count):
    method = make_method(method)
    model = make_model("resnet_tiny", method, classes=10)

    def apply(key):
        x, context = jnp.zeros((4, *DIGITS)), network_context(method, 0.0)
        variables = model.init(key, x, context, False)
        variables = {key: variables[key] for key in ("params", "batch_stats")}
        return model.apply(variables, x, context, False, mutable=[ACTIVATIONS])[1]

    assert len(by_unit_of_layer(jax.eval_shape(apply, jax.random.key(0)).get(ACTIVATIONS, {}))) == count


def sloped_units(chain):
    for node in chain:
        if isinstance(node, Residual):
            yield from sloped_units(node.branch)
            assert not list(sloped_units(node.shortcut))
        elif isinstance(node, Slope):
            yield node.unit


@pytest.mark.parametrize(
    ("name", "structure"),
    [("resnet_tiny", "plain"), ("resnet_tiny", "bireal"), ("resnet18_imagenet", None), ("vgg_tiny", None)],
)
def test_chain_has_a_slope_for_exactly_the_units_with_a_learned_activation(name, structure):
    model, variables, _, filled = abstract(name, "reactnet", structure)
    learned = {
        "/".join(part.key for part in path[:-3])
        for path, _ in jax.tree_util.tree_leaves_with_path(variables["params"])
        if "activation" in [part.key for part in path]
    }
    found = list(sloped_units(model.chain))
    assert len(found) == len(set(found))
    everything = by_unit(filled[UNITS]).keys()
    assert (
        set(found)
        == learned
        == {name for name in everything if name.split("/")[-1] not in ("shortcut", "head")}
    )
    assert not list(sloped_units(abstract(name, "birealnet", structure)[0].chain))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["resnet_tiny", "vgg_tiny"])
def test_bfloat16_images_give_float32_logits_variables_and_records(name, method):
    _, variables, logits, filled = abstract(name, method, image=DIGITS, dtype=jnp.bfloat16)
    chex.assert_type(jax.tree.leaves((variables, logits, filled)), jnp.float32)
    chex.assert_shape(logits, (4, 10))


def test_stem_and_classifier_and_shortcuts_are_full_precision_and_the_rest_binary():
    _, variables, _, _ = abstract("resnet_tiny", "irnet")
    kinds = {
        "/".join(part.key for part in path[:-1]): path[-1].key
        for path, _ in jax.tree_util.tree_leaves_with_path(variables["params"])
        if path[-1].key in ("kernel", "latent")
    }
    assert {name for name, kind in kinds.items() if kind == "kernel"} == {
        "stem/conv",
        "stage2_block1/shortcut/conv",
        "head/dense",
    }
    assert len(kinds) == 7


@pytest.mark.parametrize(
    ("name", "method", "asked", "structure"),
    [
        ("resnet20", "irnet", None, "bireal"),
        ("resnet20", "fp", None, "plain"),
        ("resnet18", "irnet", "plain", "plain"),
    ],
)
def test_structure_left_out_is_bireal_for_binarized_resnets(name, method, asked, structure):
    assert make_model(name, make_method(method), structure=asked, classes=10).structure == structure


@pytest.mark.parametrize(
    ("name", "structure", "message"),
    [
        (
            "resnet21",
            None,
            "unknown model 'resnet21'; allowed are resnet20, resnet18, resnet34, resnet18_imagenet, "
            "resnet34_imagenet, resnet_tiny, vgg_small, vgg_tiny",
        ),
        ("resnet20", "dense", "unknown structure 'dense'; allowed are plain, bireal"),
        ("vgg_tiny", "bireal", "model vgg_tiny has no shortcuts, so its structure is plain; got bireal"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(name, structure, message):
    with pytest.raises(ValueError, match=message):
        make_model(name, make_method("bnn"), structure=structure, classes=10)


@pytest.mark.parametrize("name", ["resnet_tiny", "resnet18", "vgg_small"])
def test_averaging_is_refused_where_no_shortcut_is_padded(name):
    message = f"^downsample average is for padded shortcuts, as of resnet20; got model {name}$"
    with pytest.raises(ValueError, match=message):
        make_model(name, make_method("bnn"), classes=10, downsample="average")


@pytest.mark.parametrize(("name", "options"), [("resnet20", {"downsample": "average"}), ("vgg_tiny", {})])
def test_smoothing_takes_no_parameters_and_is_the_models(name, options):
    method = make_method("irnet")
    smoothed = make_model(name, method, classes=10, stem_blur=True, **options)
    assert smoothed.stem_blur
    assert getattr(smoothed, "downsample", None) == options.get("downsample")
    x, context = jnp.zeros((1, *CIFAR)), network_context(method, 0.0)
    shapes = [
        jax.eval_shape(lambda key, m=model: m.init(key, x, context, False), jax.random.key(0))["params"]
        for model in (smoothed, make_model(name, method, classes=10))
    ]
    assert jax.tree.map(jnp.shape, shapes[0]) == jax.tree.map(jnp.shape, shapes[1])


def test_a_blur_before_the_stem_is_that_of_the_images():
    method = make_method("fp")
    plain, blurred = (make_model("vgg_tiny", method, classes=10, stem_blur=blur) for blur in (False, True))
    x = jnp.asarray(np.random.default_rng(3).normal(size=(2, 8, 8, 3)), jnp.float32)
    context = network_context(method, training=False)
    variables = initial(plain, x, context)
    blurs, stays = (jax.jit(lambda x, m=m: m.apply(variables, x, context, False)) for m in (blurred, plain))
    np.testing.assert_allclose(blurs(x), stays(binomial_blur(x)), rtol=1e-5, atol=1e-5)
    assert not np.allclose(blurs(x), stays(x), atol=1e-2)


@pytest.mark.parametrize("name", ["resnet_tiny", "vgg_tiny"])
@pytest.mark.parametrize(
    ("images", "what"),
    [
        (np.zeros((2, 32, 32, 3), np.uint8), r"uint8 \[2, 32, 32, 3\]"),
        (np.zeros((2, 32, 32, 3), int), r"int32 \[2, 32, 32, 3\]"),
        (np.zeros((2, 32, 32, 3), bool), r"bool \[2, 32, 32, 3\]"),
        (np.zeros((32, 32, 3), np.float32), r"float32 \[32, 32, 3\]"),
        ([[1.0, 2.0]], r"float32 \[1, 2\]"),
    ],
)
def test_images_that_are_not_normalized_are_refused(name, images, what):
    method = make_method("irnet")
    model = make_model(name, method, classes=10)
    with pytest.raises(ValueError, match=f"must be normalized floats .*; got {what}"):
        model.init(jax.random.key(0), images, network_context(method), False)


def test_other_floats_give_float32_logits():
    assert abstract("resnet_tiny", "irnet", image=DIGITS, dtype=np.float16)[2].dtype == jnp.float32


@pytest.mark.parametrize(("name", "method_name"), [("resnet_tiny", "irnet"), ("vgg_tiny", "dorefa")])
def test_network_trains_with_finite_numbers_even_from_kernels_of_zeros(name, method_name):
    method = make_method(method_name)
    model, context = make_model(name, method, classes=10), network_context(method)
    x = jax.random.normal(jax.random.key(0), (8, *DIGITS))
    variables = initial(model, x, context)
    constraint = l1inf(L1InfConfig(strength=0.1), model.chain)

    @jax.jit
    def gradient(params):
        def loss(params):
            both = {"params": params, "batch_stats": variables["batch_stats"]}
            logits, filled = model.apply(both, x, context, True, mutable=["batch_stats", UNITS])
            value = jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[:, 3])
            seen = Seen(by_unit(filled[UNITS]), {}, jnp.float32(1))
            return value + constraint.penalty(seen, ())[0], (logits, filled["batch_stats"])

        return jax.value_and_grad(loss, has_aux=True)(params)

    (value, (logits, batch_stats)), by_params = gradient(variables["params"])
    chex.assert_tree_all_finite((value, logits, batch_stats, by_params))
    for (path, leaf), before in zip(
        jax.tree_util.tree_leaves_with_path(batch_stats),
        jax.tree.leaves(variables["batch_stats"]),
        strict=True,
    ):
        assert (leaf != before).any(), path
    for path, leaf in jax.tree_util.tree_leaves_with_path(by_params):
        assert (leaf != 0).any(), path
    zeros = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * (path[-1].key not in ("latent", "kernel")), variables["params"]
    )
    chex.assert_tree_all_finite(gradient(zeros))


def test_hard_projection_brings_every_unit_but_the_classifier_below_the_radius():
    method = make_method("xnor")
    model, context = make_model("resnet_tiny", method, classes=10), network_context(method, 0.0)
    x = jnp.zeros((1, *DIGITS))

    @jax.jit
    def units_of(params, batch_stats):
        both = {"params": params, "batch_stats": batch_stats}
        return by_unit(model.apply(both, x, context, False, mutable=[UNITS])[1][UNITS])

    variables = initial(model, x, context)
    params, batch_stats = variables["params"], variables["batch_stats"]
    radius = 2.0
    before = units_of(params, batch_stats)
    assert all(unit.norm > radius for unit in before.values())
    constraint = l1inf(L1InfConfig(form="hard", radius=radius), model.chain)
    projected = replace_gains(params, constraint.project_gains(After(before), ()))
    after = units_of(projected, batch_stats)
    for name, unit in after.items():
        if name == "head":
            assert unit.norm == before["head"].norm
        else:
            np.testing.assert_allclose(unit.norm, radius, rtol=1e-6)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), params, projected)
    for path, differs in jax.tree_util.tree_leaves_with_path(changed):
        names = [part.key for part in path]
        assert differs == (names[-2:] == ["norm", "gain"]), path
