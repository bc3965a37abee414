"""The layers of the package: which folder may import which, module length, and light imports."""

import ast
from pathlib import Path

import pytest

import bnnjax

ROOT = Path(bnnjax.__file__).parent
SOURCES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
# Each part of bnnjax imports those above it alone, and of the floors' neighbours none.
FLOORS = (
    {"types", "config", "runtime"},
    {"native", "data", "report"},
    {"ops"},
    {"bounds", "methods"},
    {"nn", "train"},
    {"models", "robustness"},
    {"constraints"},
    {"runs"},
    {"studies", "benchmarks"},
    {"cli"},
)
# What some may not import of the floors below them.
FORBIDDEN = {
    "train": {"methods", "bounds", "ops", "report"},
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
    name = rest.split(".")[0] if package == "bnnjax" else ""
    return "cli" if name == "__main__" else name  # which runs it


def parts_imported(name):
    parts = {part(module) for module in IMPORTS[name]}
    known = {part(module) for module in SOURCES}
    return (parts & known) - {"", part(name)}


FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}
FLOOR[""] = len(FLOORS)  # the package itself, which imports a part only when it is asked for it


def test_the_walk_sees_every_part():
    assert {part(name) for name in SOURCES} == {*FLOOR}
    assert parts_imported("bnnjax.bounds.chain") == {"ops"}
    assert {"methods", "bounds"} <= parts_imported("bnnjax.nn.units")
    at_the_top = {path.name for path in ROOT.iterdir() if path.suffix == ".py"}
    assert at_the_top == {"__init__.py", "__main__.py", "types.py"}


def test_imports_point_down():
    for name in SOURCES:
        above = {other for other in parts_imported(name) if FLOOR[other] >= FLOOR[part(name)]}
        assert above == set(), name
        assert not parts_imported(name) & FORBIDDEN.get(part(name), set()), name


def importers_of(package):
    return {name for name, imports in IMPORTS.items() if any(i.split(".")[0] == package for i in imports)}


def test_configurations_need_no_jax():
    names = {name for name in SOURCES if part(name) == "config"}
    assert names
    for package in ("jax", "flax", "optax", "orbax", "tensorflow_datasets"):
        assert not importers_of(package) & names


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
    # Every import of a part imports the package first, which has loaded nothing by then.
    edges = {name: (IMPORTS[name] & SOURCES.keys()) - {name, "bnnjax"} for name in SOURCES}
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


def functions_within(node, depth):
    """Yields the functions of a module that lie within `depth` others."""
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function and depth == 0:
            yield child.name
        yield from functions_within(child, depth - is_function)


def test_no_function_is_two_deep_in_others():
    assert list(functions_within(ast.parse("def a():\n def b():\n  def c(): pass"), 2)) == ["c"]
    for name, path in SOURCES.items():
        assert list(functions_within(ast.parse(path.read_text("utf-8")), 2)) == [], name


def test_modules_have_at_most_300_lines():
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in SOURCES.items()}
    assert {name: count for name, count in lines.items() if count > 300} == {}
