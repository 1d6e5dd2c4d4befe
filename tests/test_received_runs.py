"""Run folders of somebody else, damaged or made to do harm: one line or the right result, and nothing outside changes.

The whole matrix (every file x every damage x every command) takes half an hour; a sample of it runs always. Counts are
printed: ``GYM_VLMRM_SHARE=1 python -m pytest tests/test_received_runs.py -m slow -s``.
"""

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gym_vlmrm import load_policy
from gym_vlmrm.auditing import audit
from gym_vlmrm.auditing.calibration import calibrate
from gym_vlmrm.errors import RunError, VLMRMError
from gym_vlmrm.learning import evaluate, resume
from gym_vlmrm.learning.export import export_sb3
from gym_vlmrm.learning.manifest import write_manifest
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.reports.run_page import report_run
from gym_vlmrm.tensors import load_state, save_state

OLD = Path(__file__).parent / "data" / "run-0.1.0"
SECONDS = 120
"""After which a command counts as hanging; machines are shared."""

# Damages --------------------------------------------------------------------------------------------------------------


def truncate(path: Path, dice: random.Random) -> None:
    size = path.stat().st_size
    os.truncate(path, dice.choice([0, size // 2, max(size - 1, 0)]))


def flip(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def delete(path: Path, dice: random.Random) -> None:
    path.unlink()


def become_folder(path: Path, dice: random.Random) -> None:
    path.unlink()
    path.mkdir()


def become_other(path: Path, dice: random.Random) -> None:
    path.write_bytes(
        dice.choice([b"[]", b"{}", b"null", b'{"format": Infinity}', b"PK\x03\x04", b"\xff\xfe\x00", b"1"])
    )


def link(path: Path, dice: random.Random) -> None:
    outside = Path(os.environ["OUTSIDE"])
    path.unlink()
    path.symlink_to(dice.choice([outside, Path("/dev/zero"), Path("/nowhere")]))


def pipe(path: Path, dice: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def swell(path: Path, dice: random.Random) -> None:
    os.truncate(path, 3_000_000_000)  # sparse


DAMAGES = (truncate, flip, delete, become_folder, become_other, link, pipe, swell)

# Commands -------------------------------------------------------------------------------------------------------------


def _evaluate(run: Path) -> Any:
    result = evaluate(run, episodes=1, workers=1, video=False)
    return result.policy.vlm_reward, result.policy.task_reward, result.checkpoint


def _report(run: Path) -> Any:
    report_run(run)
    return (run / "report.json").read_text()


def _export(run: Path) -> Any:
    import torch
    from stable_baselines3.common.save_util import load_from_zip_file

    export_sb3(run, run.parent / "exported")
    _, parameters, _ = load_from_zip_file(run.parent / "exported" / "policy.zip", device="cpu")
    assert parameters is not None
    return {name: value.tolist() for name, value in parameters["policy"].items() if isinstance(value, torch.Tensor)}


def _resume(run: Path) -> Any:
    result = resume(run, steps=RunFolder(run).record.step + 32, workers=1)
    return result.step


def _calibrate(run: Path) -> Any:
    try:
        return calibrate([run]).model_dump(mode="json")
    except RunError as error:
        if "nothing to compare" in str(error):
            return "nothing to compare"
        raise


def _load_policy(run: Path) -> Any:
    policy = load_policy(run)
    observation = np.linspace(-0.1, 0.1, 4, dtype=np.float32)
    return policy.step, np.asarray(policy.predict(observation)[0]).tolist()


def _audit_policy(run: Path) -> Any:
    report = audit("cartpole", models=["brightness"], alphas=[0.0], policy=run, evaluations=0, workers=1).report
    return report.model_dump(mode="json", exclude={"seconds"})


COMMANDS: tuple[Callable[[Path], Any], ...] = (
    _evaluate, _report, _export, _resume, _calibrate, _load_policy, _audit_policy,
)  # fmt: skip
EDITABLE = (".csv", ".json", ".yaml")
"""Text that a person may change: another number in it is no damage, unless a digest says so."""


@contextlib.contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(command: Callable[[Path], Any], run: Path, expected: Any) -> str:
    """Run a command: ``line``, ``same``, ``different``, ``hang``, or the traceback's last line."""
    try:
        with no_longer_than(SECONDS):
            return "same" if command(run) == expected else "different"
    except TimeoutError:
        return "hang"
    except VLMRMError as error:
        return "line" if str(error) and "\n" not in str(error) else f"many lines: {error}"
    except Exception as error:  # what the command line would print as a traceback
        return f"traceback: {type(error).__name__}: {error}"


def files_of(run: Path) -> list[Path]:
    return sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file())


class Matrix:
    """Tries commands on damaged copies of one run."""

    def __init__(self, run: Path, home: Path) -> None:
        self.run, self.home = run, home
        self.expected: dict[str, Any] = {}
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.outside = home / "outside.txt"
        self.outside.write_text("precious")
        os.environ["OUTSIDE"] = str(self.outside)

    def copy(self) -> Path:
        folder = self.home / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.home / "exported", ignore_errors=True)
        return Path(shutil.copytree(self.run, folder))

    def try_it(self, file: Path, damage: Callable[..., None], command: Callable[[Path], Any], seed: int = 0) -> None:
        if command.__name__ not in self.expected:
            self.expected[command.__name__] = command(self.copy())
        run = self.copy()
        damage(run / file, random.Random(f"{file} {damage.__name__} {seed}"))
        found = outcome(command, run, self.expected[command.__name__])
        self.counts[found.partition(":")[0]] += 1
        excused = found == "different" and (damage is delete or file.suffix in EDITABLE)
        if found not in ("line", "same") and not excused:
            self.wrong.append(f"{command.__name__} after {damage.__name__} of {file}: {found}")
        if self.outside.read_text() != "precious":
            self.wrong.append(f"{command.__name__} after {damage.__name__} of {file} wrote outside")
            self.outside.write_text("precious")


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    run = Path(shutil.copytree(OLD / "ppo", tmp_path / "old"))
    (run / "video.gif").write_bytes(b"GIF89a")
    return run


def test_a_sample_of_the_matrix(old_run: Path, tmp_path: Path) -> None:
    matrix = Matrix(old_run, tmp_path)
    combinations = itertools.product(files_of(old_run), DAMAGES, (_report, _load_policy, _calibrate))
    unseen = ("policy.safetensors", "normalizer.npz")  # runs of 0.1.0 have no digests
    for file, damage, command in random.Random(0).sample(list(combinations), 40):
        if damage is not flip or file.name not in unseen:
            matrix.try_it(file, damage, command)
    assert matrix.wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_the_whole_matrix(algorithm: str, tmp_path: Path) -> None:
    import trainings

    from gym_vlmrm.learning import train

    run = tmp_path / "trained"
    train(trainings.cartpole(), getattr(trainings, algorithm), output=run, workers=1)
    evaluate(run, episodes=2, workers=1)
    has_digests = (RunFolder(run).checkpoint("best").path / "manifest.json").exists()
    (tmp_path / "home").mkdir()
    matrix = Matrix(run, tmp_path / "home")
    share = float(os.environ.get("GYM_VLMRM_SHARE", "0.02"))
    combinations = list(itertools.product(files_of(run), DAMAGES, COMMANDS))
    for file, damage, command in random.Random(1).sample(combinations, max(1, int(share * len(combinations)))):
        if damage is not flip or "checkpoints" not in file.parts or has_digests:
            matrix.try_it(file, damage, command)
    print(f"\n{algorithm}: {dict(matrix.counts)}")
    assert matrix.wrong == []


# Harm -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["checkpoints", "eval", "tensorboard", "checkpoints/step_00000256"])
def test_a_folder_that_leads_elsewhere_is_refused(old_run: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.rmtree(old_run / name, ignore_errors=True)
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("precious")
    (old_run / name).symlink_to(elsewhere)
    for command in (_evaluate, _report, _export, _resume, _load_policy):
        with pytest.raises(RunError, match="is a link"):
            command(old_run)
    assert [path.name for path in elsewhere.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["report.html", "report.json", "metrics.csv", "run.json", ".lock", "video.gif"])
def test_links_overwrite_nothing(old_run: Path, tmp_path: Path, name: str) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    (old_run / name).unlink(missing_ok=True)
    (old_run / name).symlink_to(mine)
    for command in (_report, _resume, _evaluate):
        with pytest.raises(VLMRMError):
            command(old_run)
    assert mine.read_text() == "precious"


def test_a_report_into_a_folder_with_links_overwrites_nothing(old_run: Path, tmp_path: Path) -> None:
    mine, place = tmp_path / "mine.txt", tmp_path / "place"
    mine.write_text("precious")
    place.mkdir()
    for name in ("report.html", "report.json", ".report.html.new", "report.tmp"):
        (place / name).symlink_to(mine)
    report_run(old_run, place)
    export_sb3(old_run, place)
    assert mine.read_text() == "precious"
    assert not (place / "report.html").is_symlink()


def test_a_run_says_which_model_it_loads(old_run: Path, tiny_model: str, caplog: pytest.LogCaptureFixture) -> None:
    task = (old_run / "task.yaml").read_text().replace("model: brightness", f"model: '{tiny_model}'")
    (old_run / "task.yaml").write_text(task)
    with caplog.at_level("WARNING", logger="gym_vlmrm"):
        evaluate(old_run, episodes=1, workers=1, video=False)
    assert f"names the reward model '{tiny_model}'" in caplog.text


def test_absurd_spaces_are_refused(old_run: Path) -> None:
    for path in old_run.glob("checkpoints/*/policy.json"):
        described = json.loads(path.read_text())
        described["observation_space"]["shape"] = [10**9, 10**9]
        path.write_text(json.dumps(described))
    with pytest.raises(RunError, match=r"describes no policy"):
        load_policy(old_run)


@pytest.mark.parametrize("name", ["/dev/zero", "../../task.yaml", "..", "a/b", ""])
def test_a_manifest_names_files_beside_it_alone(old_run: Path, name: str) -> None:
    for checkpoint in RunFolder(old_run).checkpoints():
        (checkpoint.path / "manifest.json").write_text(json.dumps({"format": 1, "files": {name: "0"}}))
    with pytest.raises(RunError, match=r"manifest\.json: files"), no_longer_than(SECONDS):
        load_policy(old_run)


@pytest.mark.parametrize("width", [30_000, 10**9])
def test_a_policy_is_no_larger_than_its_weights(old_run: Path, width: int) -> None:
    for path in [*old_run.glob("checkpoints/*/policy.json"), old_run / "run.json"]:
        described = json.loads(path.read_text())
        described["recipe"]["hyperparameters"]["policy_kwargs"] = {"net_arch": [width, width]}
        path.write_text(json.dumps(described))
    for command in (_load_policy, _resume):
        with pytest.raises(RunError, match="far larger than its weights"), no_longer_than(SECONDS):
            command(old_run)


def test_a_run_is_of_one_policy(old_run: Path) -> None:
    described = json.loads((old_run / "run.json").read_text())
    described["recipe"]["hyperparameters"]["policy_kwargs"] = {"net_arch": [30_000, 30_000]}
    (old_run / "run.json").write_text(json.dumps(described))
    with pytest.raises(RunError, match=r"is not that of run\.json's recipe"), no_longer_than(SECONDS):
        _resume(old_run)


def test_the_task_of_a_run_includes_nothing(old_run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("description: precious\n")
    task = old_run / "task.yaml"
    task.write_text(f"include: {tmp_path / 'mine.yaml'}\n" + task.read_text())
    for command in (_evaluate, _report, _resume):
        with pytest.raises(VLMRMError, match="stands alone"):
            command(old_run)
    assert not any("precious" in path.read_text(errors="replace") for path in old_run.rglob("*.html"))


MADE_UP: dict[str, Any] = {
    "an attribute": ("training", lambda state: state["counters"].update(learn=1)),
    "a counter": ("training", lambda state: state["counters"].update(num_timesteps=[1])),
    "an optimiser": ("training", lambda state: _first(state["modules"])["param_groups"][0].update(betas=["a", "b"])),
    "its sums": ("training", lambda state: _first(_first(state["modules"])["state"]).update(exp_avg=np.zeros(3))),
    "an observation": ("state", lambda state: state["training"]["last"].update(_last_obs="x")),
    "a missing part": ("state", lambda state: state["training"].pop("last")),
    "random numbers": ("state", lambda state: state["training"]["random"].update(python=(3, (-1,) * 625, None))),
    "steps made": ("state", lambda state: state["training"]["numbers"].update(num_timesteps="")),
    "other steps": ("state", lambda state: state["training"]["numbers"].update(num_timesteps=10**9)),
    "numpy's place": ("state", lambda state: _move(state["training"]["random"])),
    "elapsed steps": ("state", lambda state: [layer.update(_elapsed_steps="x") for layer in _layers(state)]),
    "what is due": ("state", lambda state: state["due"].update(update=[])),
}


def _move(random: dict[str, Any]) -> None:
    random["numpy"] = (*random["numpy"][:2], 2**31 - 1, *random["numpy"][3:])


def _first(mapping: Any) -> Any:
    return next(iter(mapping.values()))


def _layers(state: Any) -> Iterator[dict[str, Any]]:
    for world in state["worlds"]:
        yield from (layer for layer in world["layers"] if "_elapsed_steps" in layer)


@pytest.fixture(scope="module")
def new_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import trainings

    from gym_vlmrm.learning import train

    return train(trainings.cartpole(), trainings.PPO, output=tmp_path_factory.mktemp("new") / "run", workers=1).run.path


@pytest.mark.parametrize("what", MADE_UP)
def test_a_made_up_state_is_one_line(new_run: Path, tmp_path: Path, what: str) -> None:
    """With digests made up as well."""
    run = RunFolder(Path(shutil.copytree(new_run, tmp_path / "run")))
    name, change = MADE_UP[what]
    folder = run.checkpoint("last").path
    state = load_state(folder / f"{name}.safetensors")
    change(state)
    save_state(folder / f"{name}.safetensors", state)
    write_manifest(folder)
    notices: list[str] = []
    try:
        resume(run.path, steps=400, workers=1, on_notice=notices.append)
    except VLMRMError as error:
        notices = [str(error)]
    else:
        assert "earlier checkpoint" in notices[0]
    assert "\n" not in notices[0]


def test_what_is_no_checkpoint_is_passed_over(new_run: Path, tmp_path: Path) -> None:
    """Empty folders, names in other digits, and leftovers that are none."""
    run = Path(shutil.copytree(new_run, tmp_path / "run"))
    (run / "checkpoints" / "step_00000999").mkdir()
    shutil.copytree(
        run / "checkpoints" / "step_00000256",
        run / "checkpoints" / "step_\u0660\u0660\u0660\u0660\u0660\u0669\u0669\u0669",
    )
    (run / ".metrics.csv.0.part").mkdir()
    notices: list[str] = []
    assert resume(run, steps=300, workers=1, on_notice=notices.append).step >= 300
    assert "step_00000999/policy.json: is missing; going on from an earlier checkpoint" in notices[0]


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "eval"])
def test_a_file_in_the_place_of_a_folder_is_one_line(old_run: Path, name: str) -> None:
    shutil.rmtree(old_run / name, ignore_errors=True)
    (old_run / name).write_text("")
    with pytest.raises(RunError, match="is no folder; remove it"):
        RunFolder.open(old_run)
