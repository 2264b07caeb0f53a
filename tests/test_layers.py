"""Which part may import which: read from the source with `ast`, since no tool sees the mapped folders."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "pandas", "stable_baselines3", "sb3_contrib", "tensorboard", "matplotlib", "onnx", "tyro")

STATE = ("recenv.core", "recenv.state", "recenv.observation")

# part -> (what it may import of recenv, what it may not import at all at module level)
RULES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "recenv/core": (("recenv.core",), HEAVY),
    "recenv/state.py": (("recenv.core",), (*HEAVY, "numba", "gymnasium", "scipy", "pyarrow")),
    "recenv/observation.py": (("recenv.core", "recenv.state"), (*HEAVY, "numba", "gymnasium", "scipy", "pyarrow")),
    "recenv/serving": (
        ("recenv.core", "recenv.state", "recenv.observation", "recenv.serving"),
        (*HEAVY, "numba", "gymnasium", "scipy"),
    ),
    "recenv/env": (
        (*STATE, "recenv.start", "recenv.world", "recenv.response", "recenv.env", "recenv.data.truth"),
        tuple(h for h in HEAVY if h != "stable_baselines3"),
    ),
    "recenv/data": (("recenv.core", "recenv.data"), ("torch", "gymnasium", "stable_baselines3", "numba")),
    "generators": (("recenv.core", "recenv.data.columns", "recenv.generators"), ("torch", "pandas", "gymnasium")),
    "agents": (
        (*STATE, "recenv.start", "recenv.world", "recenv.response", "recenv.env", "recenv.trust", "recenv.serving",
         "recenv.agents"),
        ("pandas",),
    ),
}  # fmt: skip
BARE = ("recenv/__init__.py", "recenv/world.py", "recenv/start.py", "recenv/response/forward.py",
        "recenv/response/features.py", "recenv/response/copy_effect.py")  # fmt: skip


def _files(part: str) -> list[Path]:
    path = ROOT / part
    return [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))


def _imports(path: Path, everywhere: bool) -> Iterator[str]:
    """Modules imported by a file; with `everywhere`, inside functions and TYPE_CHECKING blocks too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _under(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == p or name.startswith(p + ".") for p in packages)


@pytest.mark.parametrize("part", RULES)
def test_a_part_imports_only_what_lies_below_it(part: str) -> None:
    allowed, _ = RULES[part]
    for path in _files(part):
        for name in _imports(path, everywhere=False):
            if name.startswith("recenv."):
                assert _under(name, allowed) or any(p.startswith(name + ".") for p in allowed), f"{path}: {name}"


@pytest.mark.parametrize("part", RULES)
def test_heavy_packages_stay_out_of_light_parts(part: str) -> None:
    _, forbidden = RULES[part]
    for path in _files(part):
        found = [name for name in _imports(path, everywhere=False) if _under(name, forbidden)]
        assert not found, f"{path}: {found}"


@pytest.mark.parametrize("name", BARE)
def test_the_bare_package_needs_neither_torch_nor_pandas(name: str) -> None:
    found = [m for m in _imports(ROOT / name, everywhere=True) if _under(m, HEAVY)]
    assert not found


def test_recenv_never_imports_agents_generators_or_scripts() -> None:
    for path in sorted((ROOT / "recenv").rglob("*.py")):
        above = ("recenv.agents", "recenv.generators", "recenv.scripts", "agents", "generators", "scripts")
        found = [name for name in _imports(path, everywhere=True) if _under(name, above)]
        assert not found, f"{path}: {found}"


def test_nothing_that_executes_files_is_imported() -> None:
    for folder in ("recenv", "agents", "generators", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found = [
                n for n in _imports(path, everywhere=True) if _under(n, ("pickle", "joblib", "cloudpickle", "dill"))
            ]
            assert not found, f"{path}: {found}"


def test_every_package_is_listed_for_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    listed = set(settings["packages"])
    found = set()
    for root in ("recenv", "agents", "generators", "scripts"):
        prefix = "recenv" if root == "recenv" else f"recenv.{root}"
        for init in (ROOT / root).rglob("__init__.py"):
            below = init.parent.relative_to(ROOT / root).parts
            found.add(".".join([prefix, *below]))
    assert listed == found
    assert set(settings["package-dir"]) == {"recenv", "recenv.agents", "recenv.generators", "recenv.scripts"}


@pytest.mark.parametrize("name", ["agents", "generators", "scripts"])
def test_the_folders_refuse_a_second_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    with pytest.raises(ImportError, match=f"recenv.{name}"):
        __import__(name)
