"""Guards of the house: layers, lightness, exports, docstrings, packaging."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from thorough import THOROUGH

ROOT = Path(__file__).parent.parent
HOMES = {"gym_vlmrm": ROOT / "gym_vlmrm", "gym_vlmrm_cli": ROOT / "cli"}
HEAVY = [
    "torch",
    "open_clip",
    "stable_baselines3",
    "sb3_contrib",
    "mujoco",
    "pygame",
    "matplotlib",
    "tensorboard",
    "scipy",
]


def rooms() -> list[list[str]]:
    """Return CONTRIBUTING's table of rooms, row by row: a module imports from its own row or from rows above it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| room | what it knows |\n|---|---|\n")[2].partition("\n\n")[0]
    names = [re.findall(r"`([a-z0-9_]+)/?`", row.split("|")[1]) for row in table.splitlines()]
    known = {"__init__": "", "cli": "gym_vlmrm_cli", "gym_vlmrm_cli": ""}
    return [[known.get(name, name) for name in row if name != "gym_vlmrm_cli"] for row in names]


ROOMS = rooms()


def module_files() -> dict[str, Path]:
    found = {}
    for package, folder in HOMES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = module_files()


def imports(name: str, *, top_level: bool = False) -> Iterator[str]:
    """Yield our modules that a module imports, anywhere in it or as soon as it is imported itself."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes: list[ast.AST] = list(tree.body) if top_level else list(ast.walk(tree))
    for node in nodes:
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            targets = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names]
        yield from (target for target in targets if target in MODULES)


def layer(name: str) -> int:
    parts = name.split(".")
    top = parts[0] if parts[0] == "gym_vlmrm_cli" else parts[1] if len(parts) > 1 else ""
    return next((index for index, names in enumerate(ROOMS) if top in names), -1)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_above(name: str) -> None:
    assert layer(name) >= 0, f"{name} has no place in ROOMS"
    if name == "gym_vlmrm":
        return  # it names everything, lazily; test_importing_is_light covers it
    for target in imports(name):
        assert target != "gym_vlmrm", f"{name} imports the package itself, whose names lead everywhere"
        assert layer(target) <= layer(name), f"{name} imports {target}, which lies below it"


def test_no_import_goes_round_in_a_circle() -> None:
    """Not even through imports inside functions, or for types alone; the package itself names everything."""
    names = [name for name in MODULES if name != "gym_vlmrm"]
    graph = {name: {target for target in imports(name) if target not in (name, "gym_vlmrm")} for name in names}
    assert len(list(TopologicalSorter(graph).static_order())) == len(names)


def test_nothing_in_the_package_imports_what_stands_beside_it() -> None:
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) (embedded_model|benchmarks|tests)\b", text, re.M), name


def run(code: str, timeout: float = 120) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=timeout
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_is_light() -> None:
    heavy = [*HEAVY, "pydantic", "rich", "typer", "PIL", "imageio"]
    assert run(f"import sys, gym_vlmrm; print([m for m in {heavy} if m in sys.modules])").strip() == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["tasks"]])
def test_the_command_line_answers_without_heavy_libraries(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from gym_vlmrm_cli.main import app\n"
        f"try: app({arguments})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print('HEAVY', [m for m in {HEAVY} if m in sys.modules])"
    )
    assert run(code).splitlines()[-1] == "HEAVY []"


BRINGS_MUCH = ("gym_vlmrm.worlds.humanoid", "gym_vlmrm.worlds.poses", "gym_vlmrm.reward.clip")
LIGHT = [
    name
    for name in MODULES
    if (name.startswith("gym_vlmrm_cli") or layer(name) <= layer("gym_vlmrm")) and not name.startswith(BRINGS_MUCH)
]


def import_each_alone(names: list[str], *libraries: str) -> None:
    """Import modules, each in a process that has imported libraries and rows above, but nothing of its own row.

    By default every fourth of them: that no import goes round in a circle is asked of all, above.
    """
    names = names if THOROUGH else names[::4]
    rows = [[name for name in names if layer(name) == row] for row in sorted({layer(name) for name in names})]
    code = f"""
import importlib, os, sys
for library in {libraries}:
    importlib.import_module(library)
for row in {rows}:
    for name in row:
        child = os.fork()
        if child == 0:
            try:
                importlib.import_module(name)
            except BaseException as error:
                print(f"{{name}}: {{type(error).__name__}}: {{error}}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"{{name}} cannot be imported first")
    for name in row:  # what the rows below may build upon; most of the time went into importing it anew
        importlib.import_module(name)
"""
    run(code, timeout=300)


def test_each_light_module_imports_alone() -> None:
    import_each_alone(LIGHT, "gymnasium", "gymnasium.wrappers", "pydantic", "yaml", "typer", "rich.table")


@pytest.mark.slow
def test_each_heavy_module_imports_alone() -> None:
    heavy = [name for name in MODULES if name not in LIGHT and not name.endswith("__main__")]
    import_each_alone(heavy, "open_clip", "scipy.optimize", "scipy.stats", "stable_baselines3", "sb3_contrib", "mujoco")


def test_no_test_leaves_a_class_registered_with_gymnasium() -> None:
    """Write entry points as text: worker processes learn of all that is registered, and import a class's whole file."""
    import gymnasium

    points = {name: spec.entry_point for name, spec in gymnasium.registry.items()}
    classes = {name: point for name, point in points.items() if not isinstance(point, str)}
    assert {name for name, point in classes.items() if not point.__module__.startswith("gymnasium.")} == set()


def public_definitions(name: str) -> list[ast.FunctionDef | ast.ClassDef]:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node for node in found if not node.name.startswith("_")]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_exports_exist(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    ]
    if not lists:
        assert not public_definitions(name), f"{name} defines public names but has no __all__"
        return
    exported = ast.literal_eval(lists[0])
    assert exported == sorted(set(exported), key=lambda word: (word.upper() != word, word[0].islower(), word)), (
        f"{name}: sort __all__"
    )
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    defined |= {alias.asname or alias.name for node in froms for alias in node.names}
    assert set(exported) <= defined


def test_exports_of_the_package_resolve() -> None:
    package = importlib.import_module("gym_vlmrm")
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert name in dir(package)
    with pytest.raises(AttributeError, match="No gym_vlmrm attribute nothing"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("name", MODULES)
def test_public_names_have_docstrings(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{name} says nothing about itself"
    for node in public_definitions(name):
        assert ast.get_docstring(node), f"{name}.{node.name} has no docstring"


def test_what_users_call_says_what_it_raises() -> None:
    package = importlib.import_module("gym_vlmrm")
    for name in package.__all__:
        if name not in ("RewardModel", "TaskSpec"):  # a protocol, and a specification, which pydantic checks
            found = getattr(package, name)
            texts = [inspect.getdoc(found) or "", inspect.getdoc(getattr(found, "step", None)) or ""]
            assert any("Raises:" in text for text in texts), name


def configuration() -> dict[str, object]:
    loaded: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return loaded


def test_every_package_on_disk_is_in_the_wheel() -> None:
    setuptools = configuration()["tool"]["setuptools"]  # type: ignore[index]
    on_disk = {name for name, path in MODULES.items() if path.name == "__init__.py"} | {"gym_vlmrm_tasks"}
    without = {path.parent for path in MODULES.values() if not (path.parent / "__init__.py").is_file()}
    assert not without, f"folders with modules but no __init__.py: {without}"
    assert sorted(setuptools["packages"]) == sorted(on_disk)
    assert setuptools["packages"] == sorted(setuptools["packages"])


def test_constraints_pin_and_name_no_place() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line and "/" not in line and "@" not in line for line in lines)
    assert lines == sorted(lines, key=str.lower)
