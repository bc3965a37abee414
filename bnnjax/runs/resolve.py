"""What flags leave out, filled in: the one place that decides where each value of a run comes from."""

from bnnjax.config.names import Kernels, ModelName
from bnnjax.config.presets import PRESETS
from bnnjax.config.recipe import Recipe, common_recipe
from bnnjax.config.resolved import ResolvedConfig
from bnnjax.config.training import Config
from bnnjax.methods import Method, make_method
from bnnjax.models import default_structure
from bnnjax.native import library
from bnnjax.runs.directory import default_workdir

# On ImageNet these have another stem, under names of their own.
IMAGENET_STEMS: dict[ModelName, ModelName] = {
    "resnet18": "resnet18_imagenet",
    "resnet34": "resnet34_imagenet",
}


def resolve(config: Config) -> ResolvedConfig:
    """Returns the configuration with everything filled in that was left out; a resolved one as it is.

    A value comes from the first of these that has it:
      1. the flag;
      2. the preset, whose values are the flags' defaults on the command line (`presets.defaults_for`);
      3. for the five flags of a `Recipe`: the method's under --recipe published, else the data set's, which
        all methods share;
      4. for bits: the method; for the structure: the model and the method; for kernels: the method and this
        machine; for the base batch size, where the learning rate is scaled: the recipe; for the work
        directory: the run's name;
      5. the default in `Config`.

    Raises:
      ValueError: if the method, its bits or the model's structure are not defined, or kernels not there.
    """
    if isinstance(config, ResolvedConfig):
        return config
    method = make_method(config.method, config.wbits, config.abits)
    model = (
        IMAGENET_STEMS.get(config.model, config.model) if config.dataset == "imagenet2012" else config.model
    )
    config = config.with_values(method=method.name, model=model)
    recipe = recipe_of(config, method)
    fallbacks = {
        **vars(recipe),
        "wbits": method.wbits,
        "abits": method.abits,
        "structure": default_structure(model, method, config.structure),
        "base_batch_size": None if config.scale_learning_rate == "none" else recipe.batch_size,
        "workdir": default_workdir(config),
    }
    given = {name: value for name, value in vars(config).items() if value is not None}
    given["kernels"] = kernels_of(config, method)
    return ResolvedConfig(common=common_recipe(config.dataset), **{**vars(config), **fallbacks, **given})


def kernels_of(config: Config, method: Method) -> Kernels:
    """Returns which kernels convolutions of codes have; the library in C is built if it is asked for.

    Raises:
      ValueError: if kernels are native by the flag, but cannot be.
    """
    fits = method.has_signs and config.precision == "float32"
    if config.kernels == "xla" or (config.kernels == "auto" and not fits):
        return "xla"
    if not fits:
        bits = f"{method.wbits}/{method.abits} bits in {config.precision}"
        raise ValueError(
            f"kernels native are for codes of +-1 in float32; method {method.name} has {bits}; "
            "leave --kernels out"
        )
    if library.kernels() != "xla":
        return "native"
    if config.kernels == "native":
        raise ValueError("kernels native are not there: they need a CPU and a C compiler; use --kernels xla")
    return "xla"


def recipe_of(config: Config, method: Method) -> Recipe:
    """Returns the recipe that fills in what flags leave out."""
    if config.preset is not None:
        return PRESETS[config.preset].recipe
    return method.recipe if config.recipe == "published" else common_recipe(config.dataset)
