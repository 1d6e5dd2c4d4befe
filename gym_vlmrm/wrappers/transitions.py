"""What each environment of a vector environment said of the transition that it just made."""

from typing import Any

import numpy as np

from gym_vlmrm.reward.memory import RewardMemory

__all__ = ["infos_of_each", "infos_of_transitions", "with_parts"]

_FINAL = ("final_obs", "final_info")


def infos_of_transitions(infos: dict[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Return the info of each environment's transition, also where an automatic reset came in the same step.

    Args:
        infos: of a step in SAME_STEP mode, or of a reset.
        num_envs: number of environments.
    """
    each = infos_of_each({key: value for key, value in infos.items() if key.removeprefix("_") not in _FINAL}, num_envs)
    if "final_info" in infos:
        final = infos_of_each(infos["final_info"], num_envs)
        for row in np.flatnonzero(infos["_final_info"]):
            each[row] = final[row]
    return each


def infos_of_each(infos: dict[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Return N infos as single environments gave them, from those of a vector environment."""
    each: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, values in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        rows = infos_of_each(values, num_envs) if isinstance(values, dict) else values
        for row in np.flatnonzero(infos.get(f"_{key}", np.ones(num_envs, np.bool_))):
            each[row][key] = rows[row]
    return each


def with_parts(info: dict[str, Any], memory: RewardMemory, row: int) -> dict[str, Any]:
    """Return an environment's info with what the parts of its reward are worth to it, if there are any."""
    if not memory.names:
        return info
    verdict = {} if memory.seen is None else {"success_seen": memory.seen[row]}
    return {**info, "reward_parts": dict(zip(memory.names, memory.values[row].copy(), strict=True)), **verdict}
