"""The whole way from tasks with captions to a model folder: draw, learn, hunt, learn again, audit."""

import contextlib
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gym_vlmrm.auditing.frames import steps_of_set
from gym_vlmrm.errors import ModelError, RunError, TaskError, whole_number
from gym_vlmrm.files import check_writable, is_free, make_folder, write_text
from gym_vlmrm.finetuning.settings import SCRATCH
from gym_vlmrm.interrupts import Stopped
from gym_vlmrm.learning.records import MAX_SEED
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.stored_policy import load_agent
from gym_vlmrm.reward.clip.towers import load_towers
from gym_vlmrm.reward.folders import WORLDS_FILE
from gym_vlmrm.reward.loading import known_worlds
from gym_vlmrm.reward.threads import kept_torch_threads
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.task.yaml_file import shorten
from gym_vlmrm.teaching.audited import audit_taught, runs_of
from gym_vlmrm.teaching.card import TeachingRecord, write_card
from gym_vlmrm.teaching.figures import (
    CaptionFigures,
    RoundFigures,
    Verdict,
    WorldFigures,
    measure_captions,
)
from gym_vlmrm.teaching.finetuned_pupil import FinetunedPupil
from gym_vlmrm.teaching.hunt import Prey, hunt, policy_sights, steps_of_hunt
from gym_vlmrm.teaching.lessons import (
    LEAST_FRAMES,
    Curriculum,
    Lesson,
    check_sights,
    join_lessons,
    plan_curriculum,
)
from gym_vlmrm.teaching.pupil import Pupil
from gym_vlmrm.teaching.settings import TeachingSettings
from gym_vlmrm.teaching.small_pupil import SmallPupil
from gym_vlmrm.worlds.explore import Explorer, Sight
from gym_vlmrm.worlds.pools.cores import usable_cores

__all__ = ["TeachingResult", "teach"]

HELD_OUT = 0.15
"""Frames that judge and never train, as a share of those that train; another exploration finds them."""
POSED, FOLLOWED = 0.5, 0.25
"""Shares of a world's frames that are posed, where it can be, and that show given policies, where there are some."""
THREADS = 2
"""Threads that a small model learns with, where nothing else is said: more hardly help it."""
FOOLED = 0.8
"""From here on a goal seems true."""
FIRST_LOOK = 5.0
"""After how long it is said what exploring will take [s]."""
OnProgress = Callable[[str, int, int], None]
OnNotice = Callable[[str], None]


@dataclass(frozen=True)
class TeachingResult:
    """How a teaching ended."""

    output: Path
    seconds: float
    """Wall-clock time [s]."""
    frames: int
    """Frames that were taught, those of the hunts too."""
    worlds: list[WorldFigures]
    captions: list[CaptionFigures]
    rounds: list[RoundFigures]
    verdicts: list[Verdict]

    @property
    def rare_goals(self) -> list[CaptionFigures]:
        """Goals that so few of the frames show that they are hardly learned."""
        return [row for row in self.captions if row.hardly_seen]


@kept_torch_threads()
def teach(
    tasks: Sequence[TaskSpec],
    output: Path,
    settings: TeachingSettings = TeachingSettings(),  # noqa: B008  (frozen)
    on_progress: OnProgress | None = None,
    on_notice: OnNotice = lambda _: None,
) -> TeachingResult:
    """Teach a model the worlds of some tasks and write it to a new folder.

    Args:
        tasks: tasks with captions; those of one environment share its frames.
        output: folder to make; must not hold anything. It appears when the model is taught, never before.
        settings: how much, from what, with which seed.
        on_progress: called with what is being done, and how much of it is done and to do.
        on_notice: called with a sentence that the user should read.

    Raises:
        TaskError: no captions, captions that read what there is not, or a goal that never came true.
        RenderingError, WorldError: an environment cannot be drawn, fails, or observes what is not finite.
        ModelError: the model to fine-tune cannot be had, or the package ``tokenizers`` is missing.
        RunError: the output folder holds something already, or cannot be written.
    """
    began = time.perf_counter()
    report = on_progress or (lambda what, done, total: None)
    _check(tasks, output, settings)
    curriculum = plan_curriculum(tasks)
    for sentence in _unheard(curriculum):
        on_notice(f"no caption says the prompt '{shorten(sentence)}', so it will be read by its single words; add it")
    check_writable(output)
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(settings.workers or min(usable_cores(), THREADS))
    with _workshop(output) as place, contextlib.ExitStack() as worlds:
        pupil = _pupil(settings, place)
        classes = [
            worlds.enter_context(_Class(curriculum, number, pupil, settings))
            for number in range(len(curriculum.worlds))
        ]
        lessons = [each.draw(report, on_notice) for each in classes]
        pupil.begin(curriculum, join_lessons(lessons), settings.epochs, _learning(report, "learning"))
        rounds = []
        for number in range(1, settings.rounds + 1):
            pupil.write(place)
            preys = [each.hunt(number, place, report) for each in classes]
            lessons += [each.lesson for each in preys]
            rounds.append(_figures([prey for each in preys for prey in each.preys], sum(len(p.lesson) for p in preys)))
            pupil.revise(join_lessons(lessons), number, _learning(report, f"learning again ({number})"))
        pupil.write(place)
        _write_worlds(place, curriculum, settings)
        held_out = {number: each.held_out for number, each in enumerate(classes)}
        taught = {number: lessons[number :: len(classes)] for number in held_out}  # every round has one of each
        captions = measure_captions(load_towers(f"local-dir:{place}", "cpu", "fp32"), curriculum, held_out, taught)
        explored = [each.explored(taught[number]) for number, each in enumerate(classes)]
        record = TeachingRecord.of(tasks, settings, explored, captions, rounds)
        write_card(place, record)
        _move(place, output)
    verdicts = []
    for task in tasks:
        try:
            verdicts.append(audit_taught(task, output, settings, report))
        except Stopped as stopped:
            finish = f"vlmrm audit TASK --model {shlex.quote(f'local-dir:{output}')}"
            raise Stopped(stopped.signal, f"the model is whole, in {output}; what is left is {finish}") from None
    seconds = round(time.perf_counter() - began, 1)
    write_card(output, record.model_copy(update={"verdicts": verdicts, "seconds": seconds}))
    return TeachingResult(output, seconds, record.frames, explored, captions, rounds, verdicts)


def _check(tasks: Sequence[TaskSpec], output: Path, settings: TeachingSettings) -> None:
    if not tasks:
        raise TaskError("no task to teach; name at least one")
    for number, task in enumerate(tasks):
        if task in tasks[:number]:
            raise TaskError(f"task '{task.id}' is named twice; name it once")
    whole_number("seed", settings.seed, 0, MAX_SEED)
    whole_number("rounds", settings.rounds, 0, 20)
    if not 0 < settings.minutes <= 600:
        raise TaskError(f"minutes must be above 0 and at most 600, got {settings.minutes:g}")
    if not is_free(output):
        raise RunError(f"{output} exists already and is not empty; name another --output")
    taught = {task.env.id for task in tasks}
    for run in map(RunFolder.open, settings.policies):
        if run.task.env.id not in taught:
            raise RunError(f"--policy {run.path} plays {run.task.env.id}, and {', '.join(sorted(taught))} is taught")
    if settings.model in ("brightness",):
        raise ModelError(f"model '{settings.model}' reads no sentences and cannot be taught; use scratch")


def _unheard(curriculum: Curriculum) -> list[str]:
    """Prompts of the tasks that are sentences of no caption."""
    prompts = [
        " ".join(text.split())
        for world in curriculum.worlds
        for task in world.tasks
        for part in task.reward.all_parts
        for text in (*part.goals, *part.baselines)
    ]
    return [text for text in dict.fromkeys(prompts) if text not in curriculum.sentences]


@contextlib.contextmanager
def _workshop(output: Path) -> Iterator[Path]:
    """Lend a folder beside the output, and clear it away where it has not become the output."""
    place = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".part", dir=output.absolute().parent))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _move(place: Path, output: Path) -> None:
    try:
        place.chmod(0o755)
        if output.exists():
            output.rmdir()
        place.rename(output)
    except OSError as error:
        raise RunError(f"cannot write '{output}' ({error.strerror or error})") from None


def _pupil(settings: TeachingSettings, place: Path) -> Pupil:
    if settings.model == SCRATCH:
        scratch = place / "vocabulary"
        make_folder(scratch)
        return SmallPupil(settings.seed, scratch)
    return FinetunedPupil(settings.model, settings.device, settings.seed)


def _write_worlds(place: Path, curriculum: Curriculum, settings: TeachingSettings) -> None:
    shutil.rmtree(place / "vocabulary", ignore_errors=True)
    known = set() if settings.model == SCRATCH else known_worlds(settings.model) or set()
    known |= {world.task.env.id for world in curriculum.worlds}
    write_text(place / WORLDS_FILE, "\n".join(sorted(known)) + "\n")


def _learning(report: OnProgress, what: str) -> Callable[[int, int], None]:
    return lambda step, steps: report(what, step, steps)


@dataclass(frozen=True)
class _Hunted:
    lesson: Lesson
    preys: list[Prey]


class _Forecast:
    """Says once how long a slow world will take."""

    def __init__(self, world: str, minutes: float, later: Callable[[], int], on_notice: OnNotice) -> None:
        """Begin to count; `later` says how many steps will be made when its frames are drawn."""
        self._world, self._minutes, self._later, self._on_notice = world, minutes, later, on_notice
        self._began = time.perf_counter()
        self._said = False

    def look(self, made: int, wanted: float) -> None:
        """See how far it has come: `made` steps of those that drawing its frames takes."""
        passed = time.perf_counter() - self._began
        if self._said or passed < FIRST_LOOK or not made:
            return
        self._said = True
        minutes = (wanted + self._later()) * passed / made / 60
        if minutes > self._minutes:
            less = max(self._minutes**2 / minutes, 0.1)
            self._on_notice(
                f"{self._world} makes {made / passed:.0f} steps a second, so exploring it, the hunts and the audits "
                f"take up to {minutes:.0f} minutes, less where every caption soon comes true; --minutes {less:.1f} "
                "takes less"
            )


class _Class:
    """One world while its lessons are drawn."""

    def __init__(self, curriculum: Curriculum, number: int, pupil: Pupil, settings: TeachingSettings) -> None:
        self.curriculum, self.world, self.pupil, self.settings = curriculum, curriculum.worlds[number], pupil, settings
        task = self.world.task
        self.size = task.scene.render_size or pupil.frame_size
        self.seed = settings.seed + 100_000 * number
        self.explorer = Explorer(task, self.world.captions, self.size, self.seed)
        self.held_out = curriculum.lesson(self.world, [])
        self._share = len(curriculum.worlds)

    def __enter__(self) -> "_Class":
        return self

    def __exit__(self, *_: object) -> None:
        self.explorer.close()

    def draw(self, report: OnProgress, on_notice: OnNotice) -> Lesson:
        """Draw a first lesson, and frames that will judge."""
        count = max(self.settings.frames // self._share, LEAST_FRAMES)
        judges = max(round(HELD_OUT * count), LEAST_FRAMES)
        title = f"drawing {self.world.task.env.id}"
        forecast = _Forecast(self.world.task.env.id, self.settings.minutes, self._steps_later, on_notice)

        def done(seen: int) -> None:
            report(title, min(seen, count + judges), count + judges)
            if seen and not self.explorer.tells_states:
                forecast.look(self.explorer.steps, self.explorer.steps * (count + judges) / seen)

        def scouted(steps: int, wanted: int) -> None:
            report(f"exploring {self.world.task.env.id}", steps, wanted)
            forecast.look(steps, (1 + HELD_OUT) * wanted)

        sights = self._draw(self.explorer, count, done, self.settings.seed, scouted)
        check_sights(self.world, sights, on_notice, self.explorer.odd)
        other = Explorer(self.world.task, self.world.captions, self.size, self.seed + 50_000)
        try:
            held_out = self._draw(other, judges, lambda seen: done(count + seen), self.settings.seed + 1)
        finally:
            other.close()
        self.held_out = self.curriculum.lesson(self.world, held_out)
        return self.curriculum.lesson(self.world, sights)

    def _draw(
        self,
        explorer: Explorer,
        count: int,
        done: Callable[[int], None],
        seed: int,
        scouted: Callable[[int, int], None] = lambda steps, wanted: None,
    ) -> list[Sight]:
        sights: list[Sight] = []
        agents = [load_agent(run.checkpoint("best").path) for run in runs_of(self.world.task, self.settings)]
        rng = np.random.default_rng([seed, 23])
        for agent in agents:
            sights += policy_sights(agent, explorer, round(FOLLOWED * count / len(agents)), rng)
            done(len(sights))
        if explorer.can_pose:
            sights += explorer.posed(round(POSED * count))
            done(len(sights))
        before = len(sights)
        return sights + explorer.explore(count - before, lambda seen: done(before + seen), scouted)

    def _steps_later(self) -> int:
        """About how many steps the hunts and the audits make."""
        hunts = steps_of_hunt(self.world, self.explorer, self._hunted, self.settings.agent_steps)
        audits = 0 if self.explorer.can_pose else sum(steps_of_set(task) for task in self.world.tasks)
        return self.settings.rounds * hunts + audits

    @property
    def _hunted(self) -> int:
        return max(self.settings.hunted // self._share, LEAST_FRAMES // 2)

    def explored(self, taught: Sequence[Lesson]) -> WorldFigures:
        """Say how the world was explored."""
        return WorldFigures(
            world=self.world.task.env.id, frames=sum(map(len, taught)), held_out=len(self.held_out),
            tells_states=self.explorer.tells_states, posed=self.explorer.can_pose,
        )  # fmt: skip

    def hunt(self, number: int, place: Path, report: OnProgress) -> _Hunted:
        """Hunt for what fools the pupil in this world, and make a lesson of it."""
        count = self._hunted
        title = f"hunting in {self.world.task.env.id} ({number})"

        def rate(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
            return self.pupil.rate(frames)[:, self.world.meanings]

        preys = hunt(
            self.world, self.explorer, rate, count, self.seed + 1000 * number, place=place,
            steps=self.settings.agent_steps, workers=self.settings.workers,
            on_done=lambda done, total: report(title, done, total),
        )  # fmt: skip
        rng = np.random.default_rng([self.seed, 29, number])
        kept = [sight for prey in preys for sight in prey.choose(count // len(preys), rng)]
        return _Hunted(self.curriculum.lesson(self.world, kept), preys)


def _figures(preys: Sequence[Prey], kept: int) -> RoundFigures:
    excess = np.concatenate([prey.excess for prey in preys])
    ratings = np.concatenate([prey.ratings for prey in preys])
    truths = ratings - excess
    worst = np.sort(excess)[-max(len(excess) // 10, 1) :]
    fooled = float(((ratings >= FOOLED) & (truths < 0.5)).mean())
    return RoundFigures(seen=len(excess), kept=kept, fooled=round(fooled, 4), excess=round(float(worst.mean()), 4))
