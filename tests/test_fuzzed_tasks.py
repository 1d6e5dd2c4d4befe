"""Task files and rules from nowhere: valid, or one clean line, soon and without much memory.

``GYM_VLMRM_FUZZ=100000 python -m pytest tests/test_fuzzed_tasks.py -s`` tries as many as the variable says of each.
"""

import os
import random
import resource
import string
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gym_vlmrm import load_task
from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.builtin import builtin_folder
from gym_vlmrm.task.rules import MAX_PARTS, parse_rule, quantity_names, rule_text
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.task.yaml_file import yaml_text

COUNT = int(os.environ.get("GYM_VLMRM_FUZZ", "400"))
SECONDS, BYTES = 1.0, 200_000_000
PIECES = (
    *("all", "any", "not", ":", "- ", "[", "]", "{", "}", ",", "\n", "\n  ", "'", '"', "&a ", "*a", "<<: ", "=", "!"),
    *(
        "!!python/name:os.system ",
        "!!binary ",
        "!!int ",
        "!!float ",
        "!!timestamp ",
        "!!set ",
        "!!omap ",
        "@",
        "%",
        "#",
    ),
    *("obs[0]", "obs[", "> 1", "<= -.5e3", "9" * 5000, "1:" * 3000 + "1", "1_" * 3000, "0x" + "f" * 5000, "1e999"),
    *(".inf", ".nan", "~", "\t", "\x00", "\x1b[31m", "\u202e", "\ufeff", "\U0001f600", "a" * 20_000, "2020-13-45"),
    *("include: _humanoid.yaml", "include: /dev/zero", "success: ", "env:", "id: ", "kwargs: ", "reward:", "goal: "),
    *("training:", "steps: ", "scene: ", "camera: ", "[" * 200, "- " * 200, "{a: " * 200, "? ", "| ", ">- ", "---\n"),
    *("...\n", "%YAML 9.9\n", "2020-01-01T99:99:99", "`"),
)


class Budget:
    """Times calls, and watches the largest memory that this process ever had."""

    def __init__(self) -> None:
        self.before = self._memory()
        self.slowest, self.slow = 0.0, ""
        self.counts: Counter[str] = Counter()

    @staticmethod
    def _memory() -> int:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def call(self, function: Callable[[Any], Any], value: Any, error: type[Exception]) -> Any:
        """Call, and count the value that comes back as valid and an error of the expected type as a line."""
        began = time.process_time()
        found = None
        try:
            found = function(value)
            self.counts["valid"] += 1
        except error as refusal:
            self.counts["one line"] += 1
            line = str(refusal)
            assert line, value
            assert "\n" not in line, line
            assert len(line) < 2000, line[:3000]
        took = time.process_time() - began
        if took > self.slowest:
            text = value.read_bytes() if isinstance(value, Path) else value
            self.slowest, self.slow = took, repr(text)[:500]
        return found

    def check(self, what: str) -> None:
        grown = self._memory() - self.before
        print(f"\n{what}: {dict(self.counts)}, slowest {self.slowest:.3f} s, memory +{grown / 1e6:.0f} MB")
        assert self.slowest < SECONDS, self.slow
        assert grown < BYTES


def seeds() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(builtin_folder().glob("*.yaml"))]


def mutated(text: str, dice: random.Random) -> str:
    """Change a text in a few places."""
    for _ in range(dice.randint(1, 4)):
        at, end = sorted((dice.randrange(len(text) + 1), dice.randrange(len(text) + 1)))
        kind = dice.randrange(6)
        if kind == 0:
            text = text[:at] + text[end:]
        elif kind == 1:
            text = text[:at] + dice.choice(PIECES) + text[at:]
        elif kind == 2:
            text = text[:at] + dice.choice(string.printable) + text[at + 1 :]
        elif kind == 3:
            text = text[:at] + text[at:end] * 2 + text[end:]
        elif kind == 4:
            lines = text.splitlines(keepends=True)
            dice.shuffle(lines)
            text = "".join(lines)
        else:
            colon = text.find(": ", at)
            text = text if colon < 0 else text[: colon + 2] + dice.choice(PIECES) + text[colon + 2 :]
    return text


def test_generated_task_files(tmp_path: Path) -> None:
    dice, budget, sources = random.Random(0), Budget(), seeds()
    path = tmp_path / "own.yaml"
    load_task("splits")
    for number in range(COUNT):
        text = mutated(dice.choice(sources), dice)
        content = text.encode("utf-8", "surrogatepass")
        if number % 20 == 0:
            spot = dice.randrange(len(content) + 1)
            content = content[:spot] + bytes(dice.randrange(256) for _ in range(4)) + content[spot:]
        path.write_bytes(content)
        task = budget.call(load_task, path, TaskError)
        if isinstance(task, TaskSpec):
            path.write_bytes(yaml_text(task.model_dump()).encode())
            assert repr(load_task(path)) == repr(task)
    budget.check(f"{COUNT:,} task files")


def random_rule(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.randrange(8)
    if kind < 4 or depth > 9:
        name = dice.choice(["obs[0]", "x", "info.y", "feet_distance", "obs[99999999999]", "", "a" * 300, "9", "é"])
        number = dice.choice(
            ["1", "-.5e3", "1e999", "9" * 400, "nan", "0x1", "1_0", "", " 1 ", "+1.", "\t2", "1" * 300 + "x"]
        )
        blank = dice.choice(["", " ", " " * 300_000 if dice.random() < 0.01 else "  "])
        return f"{blank}{name}{blank}{dice.choice(['<', '>', '<=', '>=', '==', '!=', '=', '<>'])}{blank}{number}{blank}"
    if kind < 7:
        count = dice.choice([0, 1, 2, 3, 3000 if dice.random() < 0.01 else 2])
        key = dice.choice(["all", "any", "not", "none"])
        part = random_rule(dice, depth + 1)
        return {key: part if key == "not" else [part] * count}
    return dice.choice(
        [None, 1, [], {}, "", "a > b", {"all": "x > 1"}, {"any": {}}, {1: 2}, "x > 1\n", b"x > 1", ["x > 1"]]
    )


def test_generated_rules() -> None:
    dice, budget = random.Random(0), Budget()
    for _ in range(COUNT):
        source = random_rule(dice)
        rule = budget.call(parse_rule, source, ValueError)
        if rule is not None:
            assert 1 <= len(list(quantity_names(rule))) <= MAX_PARTS
            assert rule_text(source)
    budget.check(f"{COUNT:,} rules")


@pytest.mark.parametrize(
    "text",
    [
        "success: '" + "9" * 900_000 + "'",
        "success: 'x > " + "9" * 900_000 + "x'",
        "success: '" + " " * 900_000 + "x'",
        "success: 'x" + " " * 900_000 + "'",
        "env: {id: A-v0, kwargs: {a: " + "9" * 900_000 + "}}",
        "env: {id: A-v0, kwargs: {a: 0x" + "f" * 900_000 + "}}",
        "env: {id: A-v0, kwargs: {a: " + "1:" * 400_000 + "1}}",
        "env: {id: A-v0, kwargs: {a: " + "1_" * 400_000 + "}}",
        "env: {id: A-v0, kwargs: {a: 0b" + "1" * 900_000 + "}}",
        "env: {id: A-v0, kwargs: {a: [" + "1," * 400_000 + "]}}",
        "id: " + "a-v" * 300_000,
        "id: " + "a/" * 300_000,
        "description: " + "a " * 400_000,
        "reward: {goal: [" + "a," * 400_000 + "]}",
        "reward: {goal: " + "a" * 900_000 + "}",
        "?" * 900_000,
        "- " * 400_000,
        "{" * 900_000,
        "a: &a [x]\nb: &b [" + "*a," * 100_000 + "]",
        "\n".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 9 if n else 'x'}]" for n in range(12)),
        "!" * 900_000,
        "&" + "a" * 900_000 + " x",
        "'" + "\n" * 900_000 + "'",
        "a:\n" * 200_000,
        "\n".join(f"k{n}: 1" for n in range(80_000)),
    ],
    ids=range(25),
)
def test_what_takes_long_elsewhere(tmp_path: Path, text: str) -> None:
    budget, path = Budget(), tmp_path / "long.yaml"
    path.write_text(text)
    budget.call(load_task, path, TaskError)
    budget.check("one")
    assert budget.counts == {"one line": 1}


def test_no_tag_builds_an_object(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    for tag in ("python/object/apply:os.system", "python/name:os.system", "python/module:os", "python/object/new:list"):
        path.write_text(f"id: !!{tag} [x]\n")
        with pytest.raises(TaskError):
            load_task(path)
