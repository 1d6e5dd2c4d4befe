"""Reports: one file, no network, the same numbers as the JSON, and a real browser that shows them."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from planted import save_untrained_model

from gym_vlmrm.auditing import audit
from gym_vlmrm.auditing.examine import Audit, AuditPictures
from gym_vlmrm.auditing.portraits import PORTRAIT, portraits
from gym_vlmrm.auditing.results import AuditReport
from gym_vlmrm.errors import RunError
from gym_vlmrm.learning.evaluation import evaluate
from gym_vlmrm.learning.recipes import choose_recipe
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.reports.charts import curve_chart, episode_chart
from gym_vlmrm.reports.page import NUMBERS, default_folder, number, write_audit
from gym_vlmrm.reports.run_page import report_run
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.worlds.world import make_world

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    models = [save_untrained_model(folder / "one"), save_untrained_model(folder / "two", 1), "brightness"]
    result = audit("cartpole", models=models, alphas=[0, 1], evaluations=200, workers=1)
    return write_audit(result, folder / "report")


@pytest.fixture(scope="module")
def evaluated_run(cartpole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(cartpole_run, run)
    evaluate(run, episodes=2, workers=1, video=False)
    return run


@pytest.fixture(scope="module")
def filmed_run(cartpole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("filmed") / "run"
    shutil.copytree(cartpole_run, run)
    evaluate(run, episodes=2, workers=1)
    return run


class _Page(HTMLParser):
    """Checks that a page is well formed and collects what it would load and say."""

    VOID = ("meta", "img", "br", "link", "input", "hr", "path", "use", "rect", "circle", "stop")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href", "xlink:href") and value]
        self.ids += [value for key, value in attrs if key == "id"]

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.addresses += [value for key, value in attrs if key in ("src", "href", "xlink:href") and value]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def test_the_page_stands_alone(audited: Path) -> None:
    text = audited.read_text()
    page = _Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert "<script" not in text
    assert not re.search(r"(url\(|@import)\s*['\"]?(?!#)http", text)
    assert audited.stat().st_size < 3_000_000


def _pictures(page: _Page) -> list[Any]:
    jpegs = [address for address in page.addresses if address.startswith("data:image/jpeg")]
    return [Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) for address in jpegs]


def test_pictures_of_an_audit_are_large(audited: Path) -> None:
    pictures = _pictures(_Page(audited.read_text()))
    assert len(pictures) >= 3 * 24
    assert {picture.size for picture in pictures} == {(PORTRAIT, PORTRAIT)}


@pytest.mark.parametrize("name", ["kneeling", "mountain-car"])
def test_a_portrait_shows_the_state_and_what_the_reward_saw(name: str) -> None:
    task = load_task(name)
    world = make_world(task, render_size=64)
    states, seen = [], []
    for seed in range(2):
        world.reset(seed=seed)
        for _ in range(8):
            world.step(world.action_space.sample())
        states.append(world.unwrapped.configuration())  # type: ignore[attr-defined]
        seen.append(world.render())
    world.close()
    one, other = portraits(task, states, seen)
    assert one.shape == (PORTRAIT, PORTRAIT, 3)
    assert (one != other).any()
    corner = np.asarray(Image.fromarray(one[:80, :80]).resize((64, 64)), float)
    assert np.abs(corner - np.asarray(seen[0], float)).mean() < 8
    blank = np.zeros((1, 0, 0, 3), np.uint8)
    assert portraits(task, states[:1], blank)[0].shape == one.shape  # a reward of states saw none
    (same,) = portraits(task, [[]], seen[:1])
    np.testing.assert_array_equal(same, seen[0])
    assert portraits(task, [], []) == []


def test_page_and_json_say_the_same(audited: Path) -> None:
    data = json.loads((audited.parent / "report.json").read_text())
    said = _Page(audited.read_text()).text
    for finding in data["findings"]:
        for field, _, _ in NUMBERS:
            interval = finding["numbers"][field]
            for value in interval.values():
                assert number(value) in said
    for model in data["models"]:
        assert model["verdict"]["label"] in said
        for reason in model["verdict"]["reasons"]:
            assert reason in said
    searches = [part.partition("Highest-scoring frames")[0] for part in said.split("Exploit search")[1:]]
    for model, search in zip(data["models"], searches, strict=True):
        found = [model["exploit"]["champion"], *model["exploit"]["winners"]]
        assert search.count(" from ") == len(found)
        for winner in found:
            assert f"success, {number(winner['reward'])}" in search
            assert f"from {winner['start']}" in search
    assert [model["judge"]["model"] for model in data["models"]] == [model["model"] for model in data["models"]]
    assert len(data["landscapes"]) == 3
    assert data["versions"]["gymnasium"] in said


def test_the_page_says_what_to_try(audited: Path, tmp_path: Path) -> None:
    report = AuditReport.model_validate_json((audited.parent / "report.json").read_bytes())
    pictures = AuditPictures([], [], np.array([0.9, 0.8]), np.array([0.1, 0.2]), None)
    advised, plain = "With alpha 1 and <no> baseline the AUC is 1.", {"advice": []}
    pages = []
    for found in ({"advice": [advised]}, plain):
        models = [report.models[0].model_copy(update=found), *(m.model_copy(update=plain) for m in report.models[1:])]
        page = Audit(report.model_copy(update={"models": models}), {m.model: pictures for m in models})
        pages.append(_Page(write_audit(page, tmp_path / str(len(pages))).read_text()).text)
    assert advised in pages[0]
    assert "What to try" in pages[0]
    assert "What to try" not in pages[1]


def test_prompts_cannot_break_the_page(tmp_path: Path) -> None:
    model = save_untrained_model(tmp_path / "model")
    result = audit(
        "mountain-car", models=[model], alphas=[0], prompts=["<script>alert(1)</script> & co"], evaluations=0, workers=1
    )
    text = write_audit(result, tmp_path / "out").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def _photograph(page: Path, picture: Path, width: int, *, dark: bool) -> np.ndarray:
    """Let a headless browser show a page without network; returns its pixels."""
    options = ["--blink-settings=preferredColorScheme=0"] if dark else []
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--proxy-server=0.0.0.0:1", *options,
        f"--user-data-dir={picture.parent / 'profile'}", f"--screenshot={picture}", f"--window-size={width},1600",
        page.as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=90, capture_output=True)
    with Image.open(picture) as shown:
        return np.asarray(shown.convert("RGB"), float)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian package: chromium)")
@pytest.mark.parametrize("of", ["audit", "run"])
@pytest.mark.parametrize(("width", "dark"), [(1100, False), (500, True)])
def test_a_browser_shows_the_page(
    audited: Path, filmed_run: Path, tmp_path: Path, of: str, width: int, dark: bool
) -> None:
    page = audited if of == "audit" else report_run(filmed_run, tmp_path)
    pixels = _photograph(page, tmp_path / "page.png", width, dark=dark)
    assert pixels.shape == (1600, width, 3)
    background = pixels[5, 5].mean()
    assert background < 60 if dark else background > 240
    contrast = np.abs(pixels - pixels[5, 5]).max(axis=2) > 60
    assert contrast.mean() > 0.02  # text and charts are there
    assert not contrast[:, -4:].any()  # and nothing sticks out at the side


def test_default_folders_count_up(tmp_path: Path) -> None:
    task = load_task("VLMRM/CartPole-Balance-v0")
    assert default_folder(task, tmp_path) == tmp_path / "cartpole-1"
    (tmp_path / "cartpole-1").mkdir()
    assert default_folder(task, tmp_path) == tmp_path / "cartpole-2"


def test_unwritable_folders_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = audit("mountain-car", models=["brightness"], evaluations=0, workers=1)
    with pytest.raises(RunError, match="cannot write"):
        write_audit(result, tmp_path / "file" / "report")


def test_a_longer_horizon_has_its_own_columns(cartpole_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(cartpole_run, tmp_path / "run")
    evaluate(run, episodes=2, workers=1, video=False, horizon=40)
    text = report_run(run).read_text()
    assert "<th>trained</th><th>random</th><th>trained, 40 steps</th><th>random, 40 steps</th>" in text


def test_a_run_has_a_report(cartpole_run: Path, tmp_path: Path) -> None:
    path = report_run(cartpole_run, tmp_path)
    page = _Page(path.read_text())
    assert page.open == []
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["record"]["status"] == "finished"
    assert data["metrics"]["step"]
    assert "VLM reward per step" in path.read_text()
    for name, version in data["record"]["versions"].items():
        assert name in page.text
        assert version in page.text


def test_the_page_of_an_evaluated_run_opens_with_film_and_curve(filmed_run: Path, tmp_path: Path) -> None:
    text = report_run(filmed_run, tmp_path).read_text()
    page = _Page(text)
    assert page.open == []
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    film, curve, table = (text.index(mark) for mark in ('<video class="film"', "training", "<table"))
    assert film < curve < table
    assert re.search(r'<video class="film" src="data:video/mp4;base64,[^"]+" controls', text)
    data = json.loads((tmp_path / "report.json").read_text())
    for kind in ("best", "median", "worst"):
        for reward in data["evaluation"]["frames"][kind]:
            assert number(reward, 4) in page.text
    assert page.addresses.count(next(a for a in page.addresses if a.startswith("data:image/png"))) == 1
    assert "VLM reward over the filmed episodes" in text
    assert "random policy" in page.text
    assert "eval/best_frames.png" in page.text


def test_the_command_repeats_the_run(filmed_run: Path, tmp_path: Path) -> None:
    run = RunFolder.open(filmed_run)
    assert "made in Python" in report_run(run, tmp_path).read_text()  # its recipe is no task's
    task = load_task("cartpole")
    name, recipe = choose_recipe(task, algorithm="PPO", steps=640, num_envs=4)
    shutil.copytree(filmed_run, tmp_path / "run")
    other = RunFolder.open(tmp_path / "run")
    other.write_task(task)
    other.write_record(other.record.model_copy(update={"recipe": recipe, "recipe_name": name, "seed": 3}))
    lines = _Page(report_run(other).read_text()).text
    wanted = "vlmrm train cartpole --algorithm PPO --steps 640 --num-envs 4 --seed 3"
    assert wanted in lines
    assert f"vlmrm eval {tmp_path / 'run'} --episodes 2 --seed 0" in lines
    other.write_task(task.model_copy(update={"description": "another one"}))
    assert wanted.replace("cartpole", f"{tmp_path / 'run'}/task.yaml") in _Page(report_run(other).read_text()).text


def test_files_that_a_run_lacks_are_no_error(filmed_run: Path, tmp_path: Path) -> None:
    shutil.copytree(filmed_run, tmp_path / "run")
    run = tmp_path / "run"
    (run / "video.mp4").unlink()
    (run / "eval" / "best_frames.png").unlink()
    (run / "eval" / "frames" / "best-2.png").write_bytes(b"x" * 3_000_000)
    text = report_run(run).read_text()
    assert '<img class="film" src="data:image/gif' in text
    assert "eval/best_frames.png" not in text
    assert len(text) < 4_000_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "evaluation.json: : Input should be a valid dictionary"),
        ('{"policy": 3}', "evaluation.json: task: Field required"),
    ],
)
def test_a_damaged_evaluation_is_one_line(cartpole_run: Path, tmp_path: Path, text: str, message: str) -> None:
    shutil.copytree(cartpole_run, tmp_path / "run")
    (tmp_path / "run" / "eval").mkdir(exist_ok=True)
    (tmp_path / "run" / "eval" / "evaluation.json").write_text(text)
    with pytest.raises(RunError, match=re.escape(message)):
        report_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("field", "value"),
    [("vlm_reward", "most"), ("episodes", None), ("success_share", float("inf")), ("episode_length", {})],
)
def test_damaged_numbers_of_an_evaluation_are_named(
    evaluated_run: Path, tmp_path: Path, field: str, value: object
) -> None:
    shutil.copytree(evaluated_run, tmp_path / "run")
    path = tmp_path / "run" / "eval" / "evaluation.json"
    data = json.loads(path.read_text())
    data["random"][field] = value
    path.write_text(json.dumps(data))
    said = rf"random\.{field}: " if value != float("inf") else r"not valid JSON \(Infinity is no finite number\)"
    with pytest.raises(RunError, match=rf"evaluation\.json: {said}"):
        report_run(tmp_path / "run")


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2,3\n", "step,rollout/vlm_reward\nx,y\n1,nan\n5,1e308\n6,-1e308\n7,inf\n"]
)
def test_odd_metrics_are_no_error(cartpole_run: Path, tmp_path: Path, text: str) -> None:
    shutil.copytree(cartpole_run, tmp_path / "run")
    (tmp_path / "run" / "metrics.csv").write_text(text)
    assert report_run(tmp_path / "run").is_file()


def test_long_axes_count_in_thousands() -> None:
    long, short = (curve_chart("reward", [("a", [0, end], [0.0, 1.0])]) for end in (200_000, 900))
    assert "steps [thousands]" in long
    assert ">200<" in long
    assert "[thousands]" not in short
    assert "random policy" in curve_chart("reward", [("a", [0, 1], [0.0, 1.0])], level=("random policy", 0.5))


@pytest.mark.parametrize("successes", [None, [], [False] * 3, [True] * 3, [True, False, True]])
def test_steps_in_success_are_shaded(successes: list[bool] | None) -> None:
    chart = episode_chart([("trained", [0.1, 0.2, 0.3]), ("random", [0.1])], successes)
    assert ("in success" in chart) == bool(successes and any(successes))


def test_no_run_no_report(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        report_run(tmp_path)
