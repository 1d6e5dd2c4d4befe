"""Whether a task's captions fit its environment and its prompts: what `vlmrm check` asks beside all else."""

from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.task.yaml_file import Location, shorten
from gym_vlmrm.worlds.readings import Readings
from gym_vlmrm.worlds.world import make_world

__all__ = ["caption_notes", "check_captions"]

TRIAL_FRAME = 16


def check_captions(task: TaskSpec) -> None:
    """Read every quantity of the captions once, after one step.

    Raises:
        TaskError: the environment has no such quantity; `field` says where it is read.
        RenderingError, WorldError: the environment cannot be made, or fails.
    """
    if not task.captions:
        return
    world = make_world(task, render_size=TRIAL_FRAME, limited=True)
    try:
        written = [caption.model_dump(mode="json") for caption in task.captions]
        names = [name for caption in task.captions for name in caption.reads()]
        read = Readings(world, names, task_id=task.id, written=written, field="captions")
        world.reset(seed=0)
        world.action_space.seed(0)
        observation, _, _, _, info = world.step(world.action_space.sample())
        read(observation, info)
    finally:
        world.close()


def caption_notes(task: TaskSpec) -> list[tuple[str, Location]]:
    """Return what is allowed and hardly meant, each with its place: prompts without caption, goals without slope."""
    if not task.captions:
        return []
    notes: list[tuple[str, Location]] = []
    said = {text: number for number, caption in enumerate(task.captions) for text in caption.sentences}
    for part in task.reward.all_parts:
        for sentence in dict.fromkeys(" ".join(text.split()) for text in (*part.goals, *part.baselines)):
            if sentence not in said:
                message = f"no caption says '{shorten(sentence)}': `vlmrm teach` teaches its single words alone"
                notes.append((message, ("reward", *part.at)))
        for number in dict.fromkeys(said[text] for text in part.goals if text in said):
            caption = task.captions[number]
            if not caption.grades:
                message = (
                    f"'{shorten(caption.sentences[0])}' has no grade: taught by `vlmrm teach` it is a step, no slope"
                )
                notes.append((message, ("captions", number)))
    return notes
