"""Each package takes from third parties only what it is allowed; the network stays where it belongs."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.architecture.tree import PACKAGES, Source, imported_by, sources

ALLOWED = {
    "tamiyo_leyline": {"pydantic", "pydantic_core"},
    "tamiyo_client": {"httpx", "opentelemetry", "pydantic", "pydantic_core"},
    "tamiyo_core": set[str](),
    "tamiyo_garden": {"mnist1d", "numpy", "sklearn", "torch"},
    "tamiyo_models": {"numpy", "onnx", "onnxruntime", "pydantic", "safetensors", "torch"},
    "tamiyo_service": {
        "alembic",
        "fastapi",
        "opentelemetry",
        "orjson",
        "prometheus_client",
        "pyarrow",
        "psycopg",
        "pydantic",
        "pydantic_core",
        "pydantic_settings",
        "sqlalchemy",
        "starlette",
        "structlog",
        "uvicorn",
    },
    "tamiyo_cli": {"httpx", "pydantic", "rich", "torch", "typer", "uvicorn"},
}
CLOCK_CHANCE_AND_WORLD = {
    "input",
    "monotonic",
    "now",
    "open",
    "perf_counter",
    "print",
    "today",
    "urandom",
    "utcnow",
    "uuid1",
    "uuid4",
}
THE_ONE_WIRING_PLACE = 1


def third_parties(source: Source) -> set[str]:
    """The top-level modules a file imports that are neither ours nor the standard library's."""
    top = {name.partition(".")[0] for name in source.imports()}
    return {name for name in top if not name.startswith("tamiyo_") and name not in sys.stdlib_module_names}


def called(source: Source) -> set[str]:
    """The last names of everything a file calls: `now` for `datetime.now()`."""
    functions = [node.func for node in ast.walk(source.tree) if isinstance(node, ast.Call)]
    return {func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in functions}


def imported_at_import(source: Source) -> set[str]:
    """What loading a file loads: the imports outside its functions."""
    waiting: list[ast.AST] = [source.tree]
    found: set[str] = set()
    while waiting:
        node = waiting.pop()
        found.update(imported_by(node))
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def test_every_package_has_its_list() -> None:
    assert set(ALLOWED) == {package.name for package in PACKAGES}


@pytest.mark.parametrize("package", ALLOWED)
def test_package_imports_no_third_party_beyond_its_list(package: str) -> None:
    beyond = {str(source): third_parties(source) - ALLOWED[package] for source in sources(package)}
    assert not {file: names for file, names in beyond.items() if names}


def test_core_asks_neither_clock_nor_chance_nor_world() -> None:
    asked = {str(source): called(source) & CLOCK_CHANCE_AND_WORLD for source in sources("tamiyo_core")}
    assert asked
    assert not {file: names for file, names in asked.items() if names}


def test_service_loads_the_models_lazily_and_in_one_place() -> None:
    service = sources("tamiyo_service")
    assert not [str(source) for source in service if names_models(imported_at_import(source))]
    wiring = [str(source) for source in service if names_models(set(source.imports()))]
    assert len(wiring) <= THE_ONE_WIRING_PLACE


def names_models(modules: set[str]) -> bool:
    """Whether the learned policies' package is among some modules."""
    return any(module.partition(".")[0] == "tamiyo_models" for module in modules)


def test_features_are_computed_with_numpy_alone() -> None:
    features = [source for source in sources("tamiyo_models") if source.path.name == "features.py"]
    assert [third_parties(source) for source in features] == [{"numpy"}]
