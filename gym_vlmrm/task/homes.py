"""Embedded models, and the worlds at home in which each was taught."""

__all__ = ["EMBEDDED", "EMBEDDED_MODELS", "embedded_for"]

EMBEDDED = "embedded"
"""What a task calls the embedded model of its world."""
_GYMNASIUM = "embedded-gymnasium"
_WORLDS = frozenset({
    "Ant-v5", "HalfCheetah-v5", "Hopper-v5", "InvertedDoublePendulum-v5", "InvertedPendulum-v5", "Pendulum-v1", "Pusher-v5",
    "Reacher-v5", "Swimmer-v5", "Walker2d-v5",
})  # fmt: skip
EMBEDDED_MODELS: dict[str, frozenset[str]] = {_GYMNASIUM: _WORLDS}
"""Those beside `EMBEDDED`, which knows the package's own scenes, by name; with the environment IDs that they know."""


def embedded_for(model: str, env_id: str) -> str:
    """Return the model that is meant where a task on some environment, or ``module:environment``, names one."""
    if model != EMBEDDED:
        return model
    bare = env_id.rpartition(":")[2]
    return next((name for name, worlds in EMBEDDED_MODELS.items() if bare in worlds), EMBEDDED)
