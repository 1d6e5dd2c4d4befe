"""Whether a process wants its host's reward server; read by every environment, and so light."""

import os

from gym_vlmrm.errors import ModelError

__all__ = ["SHARE_VARIABLE", "wants_sharing"]

SHARE_VARIABLE = "GYM_VLMRM_SHARE_MODEL"
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def wants_sharing(share_model: bool | None = None) -> bool:
    """Whether a process is to ask its host's server: what is given, else what ``GYM_VLMRM_SHARE_MODEL`` says.

    Raises:
        ModelError: it is neither yes nor no.
    """
    if share_model is not None and not isinstance(share_model, bool):
        raise ModelError(f"share_model must be True or False, got {share_model!r}")
    said = os.environ.get(SHARE_VARIABLE, "").strip().lower()
    if share_model is None and said not in (*_YES, *_NO):
        raise ModelError(f"{SHARE_VARIABLE} is {said!r:.40}; write 1 or 0")
    return said in _YES if share_model is None else share_model
