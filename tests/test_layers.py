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

# part -> (what it may import of recenv, what it may not import at all, inside functions neither)
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
        HEAVY,
    ),
    "recenv/response": (
        (*STATE, "recenv.start", "recenv.world", "recenv.variants", "recenv.data", "recenv.response",
         "recenv.__version__"),
        (*HEAVY, "numba", "gymnasium"),
    ),
    "recenv/trust": (
        (*STATE, "recenv.start", "recenv.world", "recenv.data", "recenv.response", "recenv.env", "recenv.trust"),
        (*HEAVY, "numba", "gymnasium"),
    ),
    "recenv/data": (("recenv.core", "recenv.data"), ("torch", "gymnasium", "stable_baselines3", "numba")),
    "generators": (("recenv.core", "recenv.data.columns", "recenv.generators"), ("torch", "pandas", "gymnasium")),
    "agents": (
        (*STATE, "recenv.start", "recenv.world", "recenv.response", "recenv.env", "recenv.trust", "recenv.serving",
         "recenv.agents"),
        ("pandas",),
    ),
    "scripts": (("recenv",), ("torch", "numba")),
}  # fmt: skip

# file -> what it alone may import beyond its part's rule
TORCH_GENERATORS = (
    "constraints",
    "gan",
    "gan_board",
    "gan_losses",
    "gan_networks",
    "gan_oracle",
    "gan_sample",
    "gan_score",
    "gan_train",
    "pretrained_checkpoint",
    "pretrained_prompt",
    "torch_session",
    "transformer_data",
    "transformer_fit",
    "transformer_mixture",
    "transformer_sample",
    "tuning",
)
EXCEPT: dict[str, tuple[str, ...]] = {
    "recenv/env/sb3.py": ("stable_baselines3",),
    "recenv/response/fit.py": ("recenv.trust",),
    **dict.fromkeys(
        (f"recenv/response/{name}.py" for name in ("batches", "encoders_torch", "model", "train")), ("torch",)
    ),
    **dict.fromkeys((f"recenv/response/{name}.py" for name in ("catalogue", "log", "shared", "starts")), ("pandas",)),
    **dict.fromkeys((f"generators/{name}.py" for name in TORCH_GENERATORS), ("torch",)),
}
# file -> what it alone may import, and inside functions only: it works without the package
LAZY: dict[str, tuple[str, ...]] = {
    "recenv/env/check.py": ("stable_baselines3",),
    "recenv/response/text_embeddings.py": ("torch",),
}
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


def _breaches(path: Path, name: str, part: str) -> list[str]:
    """What the file at `path`, known as `name` in the repository, imports against the rules of its part."""
    allowed, forbidden = RULES[part]
    more = EXCEPT.get(name, ())
    top = set(_imports(path, everywhere=False))
    found = []
    for module in sorted(set(_imports(path, everywhere=True))):
        if module.startswith("recenv."):
            fits = _under(module, (*allowed, *more)) or any(p.startswith(module + ".") for p in (*allowed, *more))
        else:
            lazily = () if module in top else LAZY.get(name, ())
            fits = not _under(module, forbidden) or _under(module, (*more, *lazily))
        if not fits:
            found.append(module)
    return found


@pytest.mark.parametrize("part", RULES)
def test_a_part_imports_only_what_lies_below_it_and_no_heavy_package(part: str) -> None:
    for path in _files(part):
        name = path.relative_to(ROOT).as_posix()
        assert not _breaches(path, name, part), name


@pytest.mark.parametrize(
    ("name", "part", "source", "breaches"),
    [
        ("recenv/env/masks.py", "recenv/env", "def f():\n    import torch.nn\n", ["torch.nn"]),
        ("recenv/env/masks.py", "recenv/env", "import stable_baselines3\n", ["stable_baselines3"]),
        ("recenv/env/check.py", "recenv/env", "def f():\n    import stable_baselines3\n", []),
        ("recenv/env/check.py", "recenv/env", "import stable_baselines3\n", ["stable_baselines3"]),
        ("recenv/response/log.py", "recenv/response", "def f():\n    import recenv.trust.metrics\n",
         ["recenv.trust.metrics"]),
        ("recenv/response/fit.py", "recenv/response", "import recenv.trust.metrics\n", []),
        ("recenv/response/forward.py", "recenv/response", "def f():\n    import torch\n", ["torch"]),
        ("recenv/trust/metrics.py", "recenv/trust", "import recenv.agents.base\n", ["recenv.agents.base"]),
        ("scripts/fit.py", "scripts", "import recenv.agents\ndef f():\n    import torch, numba\n", ["numba", "torch"]),
    ],
)  # fmt: skip
def test_the_rules_see_what_breaks_them(name: str, part: str, source: str, breaches: list[str], tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(source)
    assert _breaches(tmp_path / "file.py", name, part) == breaches


def test_every_exception_is_needed() -> None:
    for name, packages in (*EXCEPT.items(), *LAZY.items()):
        found = list(_imports(ROOT / name, everywhere=True))
        assert [p for p in packages if not any(_under(module, (p,)) for module in found)] == [], name


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
