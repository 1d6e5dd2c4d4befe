"""Tables on terminals of every width: no word is cut, and nothing stands beyond the edge."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from gym_vlmrm_cli import console
from gym_vlmrm_cli.console import elapsed, print_table
from rich.console import Console

COLUMNS = ("name", "kind", "a long heading", "words", "note")
ROWS = [("a-name-that-stays-whole", "one", "1", "several words in a cell", "end"), ("b", "two", "22222222", "", "x")]


def printed(monkeypatch: pytest.MonkeyPatch, width: int, **options: object) -> list[str]:
    text = io.StringIO()
    terminal = Console(file=text, force_terminal=True, width=width, color_system=None, highlight=False)
    monkeypatch.setattr(console, "stdout", terminal)
    print_table(COLUMNS, ROWS, **options)  # type: ignore[arg-type]
    return text.getvalue().splitlines()


@pytest.mark.parametrize("width", [36, 50, 60, 70, 80, 120])
@pytest.mark.parametrize("spare", [(), ("note", "kind")])
def test_words_are_whole_and_lines_fit(monkeypatch: pytest.MonkeyPatch, width: int, spare: tuple[str, ...]) -> None:
    lines = printed(monkeypatch, width, spare=spare)
    assert max(map(len, (line.rstrip() for line in lines))) <= width
    found = set(" ".join(lines).split())
    assert {"a-name-that-stays-whole", "22222222", "several", "words", "cell"} <= found


def test_spare_columns_go_first_and_come_back_below(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "note" in printed(monkeypatch, 80, spare=("note",))[0]
    assert "note" not in " ".join(printed(monkeypatch, 52, spare=("note",)))
    below = printed(monkeypatch, 30, spare=("note",))
    assert [line.split() for line in below if "note" in line] == [["note", "end"], ["note", "x"]]


def test_a_title_is_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    title = "a title that is longer than what stands below it, with [brackets] in it"
    assert printed(monkeypatch, 120, title=title)[0] == title
    print_table(("a",), [], title="no rows")


def test_times_are_short() -> None:
    seconds = (0, 59.6, 119, 120, 7199, 7200, 200_000)
    assert [elapsed(s) for s in seconds] == ["0 s", "60 s", "119 s", "2 min", "120 min", "2 h", "2 d"]


@pytest.mark.parametrize("quiet", [False, True])
def test_no_color_is_heeded_in_a_terminal(tmp_path: Path, quiet: bool) -> None:
    """NO_COLOR leaves bold at most; a pipe gets no escape sequence at all."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", **({"NO_COLOR": "1"} if quiet else {})}
    environment.pop("NO_COLOR" if not quiet else "COLORTERM", None)
    command = [sys.executable, "-m", "gym_vlmrm_cli.main", "runs", "nowhere"]
    subprocess.run(command, stderr=slave, cwd=tmp_path, env=environment, check=False)
    os.close(slave)
    said = os.read(master, 10_000)
    os.close(master)
    assert b"does not exist" in said
    assert (b"\x1b[31m" in said) is not quiet
    piped = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, check=False)
    assert b"\x1b" not in piped.stderr + piped.stdout


def test_a_number_keeps_its_unit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("gym_vlmrm_cli.console.FILE_WIDTH", 22)
    print_table(("run", "what it is", "age"), [("a-long-name", "words that fold", "6 min")])
    assert "6 min" in capsys.readouterr().out
