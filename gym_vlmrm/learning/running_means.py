"""The running statistics by which a training normalises observations, and the names that they have in a checkpoint."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["load_means", "means_to_store", "names_of_means", "put_running_means", "running_means"]

_MEANS = ("mean", "var", "count")


def _by_ending(normalizer: Any) -> dict[str, Any]:
    """Statistics of observations by the ending of their names in a checkpoint: none, or ``.key`` for a Dict."""
    rms = normalizer.obs_rms
    return {f".{key}": part for key, part in rms.items()} if isinstance(rms, dict) else {"": rms}


def names_of_means(normalizer: Any) -> tuple[str, ...]:
    """Names of all statistics of observations in a checkpoint; none without a normaliser."""
    endings = () if normalizer is None else _by_ending(normalizer)
    return tuple(f"{name}{ending}" for ending in endings for name in _MEANS)


def means_to_store(normalizer: Any) -> dict[str, Any]:
    """Return statistics of observations, and how they are used, by their names in a checkpoint."""
    statistics: dict[str, Any] = {"clip": normalizer.clip_obs, "epsilon": normalizer.epsilon}
    for ending, rms in _by_ending(normalizer).items():
        statistics |= {f"{name}{ending}": getattr(rms, name) for name in _MEANS}
    return statistics


def load_means(normalizer: Any, statistics: dict[str, NDArray[Any]]) -> None:
    """Put stored statistics of observations back; raises KeyError or ValueError where they do not fit."""
    for ending, rms in _by_ending(normalizer).items():
        mean, var, count = (statistics[f"{name}{ending}"] for name in _MEANS)
        if mean.shape != rms.mean.shape or var.shape != rms.var.shape:
            raise ValueError(f"statistics of shape {mean.shape} where observations have {rms.mean.shape}")
        rms.mean, rms.var, rms.count = mean, var, float(count)


def running_means(model: "BaseAlgorithm") -> dict[str, Any]:
    """Return copies of the statistics by which observations are normalised; none without a normaliser."""
    normalizer = model.get_vec_normalize_env()
    if normalizer is None:
        return {}
    parts = _by_ending(normalizer)
    return {f"{name}{ending}": np.copy(getattr(rms, name)) for ending, rms in parts.items() for name in _MEANS}


def put_running_means(model: "BaseAlgorithm", means: dict[str, Any]) -> None:
    """Put back what `running_means` returned."""
    if means:
        load_means(model.get_vec_normalize_env(), means)
