"""Names of judges behind HTTP, ``http://HOST:PORT``, and the token that belongs to one of them."""

import os
from urllib.parse import urlsplit

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.speaking.address import origin_of

__all__ = ["SERVER_VARIABLE", "TOKEN_VARIABLE", "base_of", "is_remote", "token_for"]

TOKEN_VARIABLE, SERVER_VARIABLE = "GYM_VLMRM_TOKEN", "GYM_VLMRM_SERVER"
"""Environment variables: the token, and the server that it belongs to."""
_EXAMPLE = "http://localhost:8800"


def is_remote(model: str) -> bool:
    """Whether a model's name is the address of a judge behind HTTP."""
    return model.startswith(("http://", "https://"))


def base_of(model: str) -> str:
    """Return where the paths of a judge begin, without a slash at the end.

    Raises:
        ModelError: it is no such address, or brings a user, a password, a query or a fragment.
    """
    if "@" in model:  # which is shown nowhere
        raise ModelError(
            "the URL of a judge brings a user or password, which run folders would keep; leave it out: a token is "
            f"read from {TOKEN_VARIABLE} alone"
        )
    try:
        parts = urlsplit(model)
        right = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        right = False
    if not right or not model.isascii() or not model.isprintable() or " " in model or "\\" in model:
        raise ModelError(f"{model!r:.200} is no address of a judge; write it as {_EXAMPLE}")
    if parts.query or parts.fragment:
        raise ModelError(f"the URL of a judge brings a query or fragment; leave it out, as in {_EXAMPLE}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def token_for(base: str) -> str | None:
    """Return the token, where the address is the server that it belongs to: a task file may name anybody's."""
    belongs = os.environ.get(SERVER_VARIABLE, "").strip()
    try:
        ours = is_remote(belongs) and origin_of(base_of(belongs)) == origin_of(base)
    except ModelError:
        ours = False
    return (os.environ.get(TOKEN_VARIABLE, "").strip() or None) if ours else None
