"""Hyper-parameters as a task file writes them, checked and turned into an algorithm's constructor arguments."""

import copy
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from gym_vlmrm.errors import TrainingError, did_you_mean
from gym_vlmrm.spec import Recipe
from gym_vlmrm.training.algorithms import Algorithm, find_algorithm

__all__ = ["check_recipe", "constructor_arguments", "update_arguments"]

RESERVED = frozenset(
    {
        "env", "seed", "tensorboard_log", "verbose", "stats_window_size", "monitor_wrapper", "_init_setup_model",
        "replay_buffer_class", "replay_buffer_kwargs", "rollout_buffer_class", "rollout_buffer_kwargs",
        "optimize_memory_usage",
    }
)  # fmt: skip
"""Constructor arguments that this package sets itself."""
ACTIVATIONS = ("ReLU", "Tanh", "ELU", "GELU", "LeakyReLU", "SiLU", "Mish", "Softplus", "Sigmoid")
OPTIMIZERS = ("Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD")
POLICY_CHOICES: dict[str, tuple[str, tuple[str, ...]]] = {
    "activation_fn": ("torch.nn", ACTIVATIONS),
    "optimizer_class": ("torch.optim", OPTIMIZERS),
}
"""Policy arguments that are classes: module and the names that may be written."""
UNWRITABLE_POLICY_ARGUMENTS = frozenset(
    {"observation_space", "action_space", "lr_schedule", "features_extractor_class", "dist_kwargs"}
)


def check_recipe(recipe: Recipe) -> Algorithm:
    """Check everything about a recipe that needs no environment, and return its algorithm.

    Raises:
        TrainingError: unknown algorithm, unknown hyper-parameter, or a value of the wrong type.
    """
    algorithm = find_algorithm(recipe.algorithm)
    constructor_arguments(recipe, algorithm, num_actions=1)
    return algorithm


def constructor_arguments(
    recipe: Recipe, algorithm: Algorithm, num_actions: int, *, mapping: bool | None = None
) -> dict[str, Any]:
    """Return the constructor arguments of the algorithm, ``policy`` included.

    Args:
        recipe: what the task file says; nothing of it is changed or shared.
        algorithm: the recipe's algorithm.
        num_actions: length of an action vector, for action noise.
        mapping: whether observations are a Dict, which takes a policy of another name; ``None`` if not known.

    Raises:
        TrainingError: unknown hyper-parameter, a value of the wrong type, or a policy that cannot read a Dict.
    """
    loaded = algorithm.load()
    parameters = algorithm.parameters()
    known = [name for name in parameters if name not in RESERVED]
    written = copy.deepcopy(recipe.hyperparameters)
    for name in written:
        if name == "replay_buffer_class":
            cure = "rewards are made of frames, so there is no hindsight"
            raise TrainingError(f"hyperparameter '{name}' of {algorithm.name} is set by gym_vlmrm; remove it ({cure})")
        if name in RESERVED:
            message = f"hyperparameter '{name}' of {algorithm.name} is set by gym_vlmrm; remove it"
            raise TrainingError(message, field=("hyperparameters", name))
        if name not in known:
            message = f"{algorithm.name} has no hyperparameter '{name}'{did_you_mean(name, known)}"
            raise TrainingError(message, field=("hyperparameters", name))
    arguments = {name: _value(algorithm, name, value, parameters[name], num_actions) for name, value in written.items()}
    policies = loaded.policy_aliases
    policy = arguments.setdefault("policy", _default_policy(algorithm, policies, "MultiInput" if mapping else "Mlp"))
    if policy not in policies:
        message = f"{algorithm.name} has no policy '{policy}'{did_you_mean(str(policy), policies)}"
        raise TrainingError(message, field=("hyperparameters", "policy"))
    if mapping is not None and mapping != policy.startswith("MultiInput"):
        right = _default_policy(algorithm, policies, "MultiInput" if mapping else "Mlp")
        kind = "Dict" if mapping else "no Dict"
        message = f"policy '{policy}' of {algorithm.name}: observations are {kind}; write '{right}'"
        raise TrainingError(message, field=("hyperparameters", "policy"))
    if "policy_kwargs" in arguments:
        arguments["policy_kwargs"] = _policy_arguments(algorithm, policies[policy], arguments["policy_kwargs"])
    arguments.update(update_arguments(recipe, algorithm))
    # Small networks are fastest on the CPU, next to the environments.
    arguments.setdefault("device", "cpu")
    return arguments


def _default_policy(algorithm: Algorithm, policies: Iterable[str], beginning: str) -> str:
    for name in policies:
        if name.startswith(beginning):  # RecurrentPPO has MlpLstmPolicy
            return name
    raise TrainingError(f"{algorithm.name} cannot learn from Dict observations; PPO, SAC or DQN can")


def update_arguments(recipe: Recipe, algorithm: Algorithm) -> dict[str, int]:
    """Return ``train_freq`` and ``gradient_steps`` so that updates per environment step are as the recipe says.

    stable-baselines3 counts ``train_freq`` in vector steps: with N environments, `updates_per_step` u means u * N
    updates per vector step. ``train_freq`` is raised to the next multiple that makes the number of updates whole.

    Raises:
        TrainingError: the algorithm does no such updates, or the recipe says it twice.
    """
    rate = recipe.updates_per_step
    if rate is None:
        return {}
    if algorithm.kind != "off-policy":
        message = f"updates_per_step is for off-policy algorithms; {algorithm.name} has n_epochs or the like"
        raise TrainingError(message, field=("updates_per_step",))
    if "gradient_steps" in recipe.hyperparameters:
        raise TrainingError(
            "give updates_per_step or hyperparameters.gradient_steps, not both", field=("updates_per_step",)
        )
    train_freq = recipe.hyperparameters.get("train_freq", 1)
    if not isinstance(train_freq, int) or train_freq < 1:
        message = f"train_freq must be a number of vector steps beside updates_per_step, got {train_freq!r}"
        raise TrainingError(message, field=("hyperparameters", "train_freq"))
    per_vector_step = Fraction(rate).limit_denominator(10_000) * recipe.num_envs
    if per_vector_step == 0:
        raise TrainingError(f"updates_per_step {rate} is too small; the least is 0.0001", field=("updates_per_step",))
    whole = per_vector_step.denominator
    train_freq = -(-train_freq // whole) * whole
    return {"train_freq": train_freq, "gradient_steps": int(per_vector_step * train_freq)}


def _value(algorithm: Algorithm, name: str, value: Any, parameter: inspect.Parameter, num_actions: int) -> Any:
    """Turn one written value into what the constructor takes."""
    try:
        return _converted(algorithm, name, value, parameter, num_actions)
    except TrainingError as error:
        error.field = ("hyperparameters", name)
        raise


def _converted(algorithm: Algorithm, name: str, value: Any, parameter: inspect.Parameter, num_actions: int) -> Any:
    where = f"hyperparameter '{name}' of {algorithm.name}"
    if name == "action_noise" and value is not None:
        return _noise(where, value, num_actions)
    allowed = _members(parameter.annotation)
    if isinstance(value, Mapping) and any(getattr(kind, "__module__", "") == "collections.abc" for kind in allowed):
        return _schedule(where, value)
    if isinstance(value, list) and tuple in allowed:
        return tuple(value)
    if not _fits(value, allowed):
        names = {getattr(kind, "__name__", str(kind)).replace("NoneType", "null") for kind in allowed}
        raise TrainingError(f"{where} must be {' or '.join(sorted(names - {'Callable'}))}, got {value!r}")
    return value


def _members(annotation: Any) -> set[Any]:
    """Types of an annotation, unions taken apart and generics reduced to their origin."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return set().union(*(_members(member) for member in typing.get_args(annotation)))
    return {typing.get_origin(annotation) or annotation}


def _fits(value: Any, allowed: set[Any]) -> bool:
    simple = {int, float, str, bool, type(None), dict, tuple, Callable}
    if not allowed & simple:
        return True  # an annotation that says nothing checkable
    if isinstance(value, bool):
        return bool in allowed
    if isinstance(value, int):
        return bool({int, float} & allowed)
    return any(isinstance(kind, type) and isinstance(value, kind) for kind in allowed & simple)


def _schedule(where: str, value: Mapping[str, Any]) -> Callable[[float], float]:
    """``{linear: [start, end]}`` as stable-baselines3's function of the remaining progress (1 to 0)."""
    ends = value.get("linear")
    if len(value) != 1 or not isinstance(ends, list) or len(ends) != 2 or not all(_is_number(end) for end in ends):
        raise TrainingError(f"{where}: a schedule is written {{linear: [start, end]}}, got {dict(value)!r}")
    start, end = map(float, ends)
    return lambda remaining: end + (start - end) * remaining


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _noise(where: str, value: Any, num_actions: int) -> Any:
    """``{normal: sigma}`` or ``{ornstein_uhlenbeck: sigma}`` as a noise object."""
    from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise

    kinds = {"normal": NormalActionNoise, "ornstein_uhlenbeck": OrnsteinUhlenbeckActionNoise}
    name = next(iter(value)) if isinstance(value, Mapping) and len(value) == 1 else None
    if name not in kinds or not _is_number(value[name]) or value[name] <= 0:
        raise TrainingError(f"{where} is written {{normal: 0.1}} or {{ornstein_uhlenbeck: 0.1}}, got {value!r}")
    return kinds[name](np.zeros(num_actions, np.float32), np.full(num_actions, value[name], np.float32))


def _policy_arguments(algorithm: Algorithm, policy: type[Any], written: Any) -> dict[str, Any]:
    """Policy arguments with names of activations and optimizers replaced by their classes."""
    if not isinstance(written, Mapping):
        message = f"policy_kwargs of {algorithm.name} must be a mapping, got {written!r}"
        raise TrainingError(message, field=("hyperparameters", "policy_kwargs"))
    known = [name for name in inspect.signature(policy).parameters if name not in UNWRITABLE_POLICY_ARGUMENTS]
    arguments: dict[str, Any] = {}
    for name, value in written.items():
        if name not in known:
            message = f"the policy of {algorithm.name} has no argument '{name}'{did_you_mean(name, known)}"
            raise TrainingError(message, field=("hyperparameters", "policy_kwargs", name))
        arguments[name] = _chosen_class(name, value) if name in POLICY_CHOICES else value
    return arguments


def _chosen_class(name: str, value: Any) -> type[Any]:
    module_name, choices = POLICY_CHOICES[name]
    if value not in choices:
        message = f"policy_kwargs.{name} '{value}' is not among {', '.join(choices)}"
        raise TrainingError(message, field=("hyperparameters", "policy_kwargs", name))
    chosen: type[Any] = getattr(__import__(module_name, fromlist=[value]), value)
    return chosen
