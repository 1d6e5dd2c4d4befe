"""Whether the parts of a reward make sense, alone and together."""

import math
from collections.abc import Sequence

from pydantic_core import PydanticCustomError

from gym_vlmrm.task.parts import Combine, FadeSpec, Part, ShapeSpec, misplaced, weight_at

__all__ = ["check_parts"]


def check_parts(
    parts: Sequence[Part],
    combine: Combine,
    *,
    task: float,
    shape: ShapeSpec | None,
    weight: float = 1.0,
    fade: FadeSpec | None = None,
) -> None:
    """Check that parts make sense, alone and together.

    Args:
        parts: all parts, that of ``reward.goal`` among them.
        combine: how they are joined.
        task: weight of the environment's own reward.
        shape: that of the whole.
        weight: that of the whole.
        fade: that of the whole.

    Raises:
        PydanticCustomError: with the keys below ``reward`` that lead to the mistake.
    """
    names: dict[str, Part] = {}
    for part in parts:
        if part.name in names:
            raise misplaced(f"two parts are called '{part.name}'; give each its own name", *part.at, "name")
        names[part.name] = part
        _check_part(part)
        if combine != "sum":
            _check_joined(part, combine)
        if shape is not None and part.shape is not None:
            raise misplaced("the whole reward has a shape already; remove one of the two", *part.at, "shape")
    # By the last weights, which are those that a training ends with and its checkpoints are compared by.
    if task == 0 and weight_at(weight, fade, math.inf) == 0:
        place, when = (("weight",), "every") if fade is None else (("fade", "to"), "in the end every")
        message = f"{when} reward is 0, as the weight of the whole is; take another weight, or add 'task:'"
        raise misplaced(message, *place)
    weighted = [part for part in parts if combine == "min" or part.weight_at(math.inf) > 0]
    based = task > 0 or any(part.shape is None for part in weighted)
    for part in parts:
        if part.shape is not None and part.shape.kind == "potential" and not based:
            raise _without_base(*part.at, "shape")
    if shape is not None and shape.kind == "potential" and task == 0:
        raise _without_base("shape")
    if task == 0 and not weighted:
        key = "weight" if parts[0].fade is None else "fade"
        message = (
            "in the end the weight of every part is 0, so every reward is the same; give one a weight, or add 'task:'"
        )
        raise misplaced(message, *parts[0].at, key)


def _without_base(*at: str | int) -> PydanticCustomError:
    return misplaced(
        "potential shaping alone on a zero base makes every policy optimal; add a base such as 'task: 1' or another "
        "part without a shape, or take 'difference'",
        *at,
    )


def _check_part(part: Part) -> None:
    if part.alpha > 0 and not part.baselines:
        message = f"alpha is {part.alpha} but there is no baseline prompt; add 'baseline:' or set alpha to 0"
        raise misplaced(message, *part.at)
    if len(set(part.cameras)) < len(part.cameras):
        raise misplaced(f"names a camera twice: {', '.join(part.cameras)}", *part.at, "cameras")
    if part.views != "mean" and len(part.cameras) < 2:
        raise misplaced(f"'{part.views}' is for two cameras or more; name them under 'cameras:'", *part.at, "views")
    if part.window is None or part.window.join == "mean":
        return
    if part.views == "turn":
        message = (
            f"'{part.window.join}' from one camera to another says nothing; take 'mean', or other views than 'turn'"
        )
        raise misplaced(message, *part.at, "window", "join")
    if part.window.join == "motion":
        return
    if not part.baselines:
        message = "'change' is measured from the baseline prompt to the goal prompt; add 'baseline:'"
        raise misplaced(message, *part.at, "window", "join")
    if part.alpha > 0:
        message = f"alpha is {part.alpha}, which has no meaning for 'change'; set it to 0"
        raise misplaced(message, *part.at, "window", "join")


def _check_joined(part: Part, combine: Combine) -> None:
    if part.shape is not None:
        message = f"a part of a {combine} has no shape of its own; write 'shape:' below 'reward:' for the whole"
        raise misplaced(message, *part.at, "shape")
    if combine == "min" and (part.weight != 1 or part.fade is not None):
        key = "weight" if part.weight != 1 else "fade"
        raise misplaced("parts of a min have no weights; 'scale:' says what a value is worth", *part.at, key)
