"""The layers of the package: who may import whom, how long a module may be, and what stays light."""

import ast
from pathlib import Path

import pytest

import bnnjax

ROOT = Path(bnnjax.__file__).parent
SOURCES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
# What each part of bnnjax may import of the others, itself aside.
ALLOWED = {
    "constraint_settings": set(),
    "config": {"constraint_settings"},
    "exit_codes": set(),
    "launch": {"config"},
    "processes": set(),
    "series_config": {"constraint_settings", "config"},
    "ops": set(),
    "report": set(),
    "lock": {"report"},
    "bounds": {"ops"},
    "methods": {"config", "ops", "bounds"},
    "constraints": {"constraint_settings", "config", "ops", "bounds"},
    "nn": {"config", "ops", "bounds", "methods", "constraints"},
    "models": {"config", "ops", "bounds", "methods", "constraints", "nn"},
}
# What the parts that see nothing but functions and trees of arrays may not import.
ABOVE = {
    "network",
    "constrained",
    "task",
    "loading",
    "feeding",
    "beginning",
    "determinism",
    "repetition",
    "rerun",
    "run",
    "distributed",
    "cli",
    "trained",
    "robustness",
    "series",
    "studies",
    "tables",
}
FORBIDDEN = {
    "data": {
        "ops",
        "bounds",
        "methods",
        "constraints",
        "nn",
        "models",
        "train",
        *ABOVE,
    },
    "train": {"methods", "constraints", "nn", "models", "lock", *ABOVE},
}


def modules_imported(path, package):
    """Returns the full names that a file imports, anywhere in it; `from a import b` is both a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


IMPORTS = {
    name: modules_imported(path, name if path.name == "__init__.py" else name.rpartition(".")[0])
    for name, path in SOURCES.items()
}


def part(module):
    """Returns 'ops' of 'bnnjax.ops.sign', and '' of what is not a part of bnnjax."""
    package, _, rest = module.partition(".")
    return rest.split(".")[0] if package == "bnnjax" else ""


def parts_imported(name):
    parts = {part(module) for module in IMPORTS[name]}
    known = {part(module) for module in SOURCES}
    return (parts & known) - {"", part(name)}


def test_the_walk_sees_every_part():
    assert {*ALLOWED, *FORBIDDEN} <= {part(name) for name in SOURCES}
    assert parts_imported("bnnjax.bounds.lipschitz") == {"ops"}
    assert {"methods", "bounds"} <= parts_imported("bnnjax.nn.units")


def test_imports_point_down():
    for name in SOURCES:
        assert parts_imported(name) <= ALLOWED.get(part(name), parts_imported(name)), name


def test_data_and_training_know_neither_methods_nor_models():
    for name in SOURCES:
        assert not parts_imported(name) & FORBIDDEN.get(part(name), set()), name


def importers_of(package):
    return {name for name, imports in IMPORTS.items() if any(i.split(".")[0] == package for i in imports)}


def test_flax_is_imported_in_nn_and_models_alone():
    importers = importers_of("flax")
    assert importers
    assert {part(name) for name in importers} == {"nn", "models"}


def test_reports_are_made_of_records_alone():
    for name in SOURCES:
        if part(name) == "report":
            assert not {i.split(".")[0] for i in IMPORTS[name]} & {"jax", "flax", "optax"}, name


def test_ops_need_jax_alone():
    allowed = {"jax", "bnnjax", "functools", "collections", "typing", "math"}
    for name in SOURCES:
        if part(name) == "ops":
            assert {i.split(".")[0] for i in IMPORTS[name]} <= allowed, name


@pytest.mark.parametrize("package", ["tensorflow", "torch", "keras", "experiments", "tests"])
def test_nothing_of_bnnjax_imports(package):
    assert importers_of(package) == set()


def test_no_module_imports_itself_in_a_circle():
    edges = {name: (IMPORTS[name] & SOURCES.keys()) - {name} for name in SOURCES}
    done = set()

    def visit(name, above):
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in done:
            for other in edges[name]:
                # `from bnnjax.ops import norms` within ops asks its own package for a neighbour.
                if other != name.rpartition(".")[0]:
                    visit(other, [*above, name])
            done.add(name)

    for name in SOURCES:
        visit(name, [])


def test_modules_have_at_most_300_lines():
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in SOURCES.items()}
    assert {name: count for name, count in lines.items() if count > 300} == {}
