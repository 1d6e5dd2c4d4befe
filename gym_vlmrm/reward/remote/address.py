"""Names of judges behind HTTP, ``http://HOST:PORT``, and the token that belongs to one of them."""

import os

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.urls import origin_of, server_url

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
    parts = server_url(
        model, model=model, called="a judge", written=_EXAMPLE, secret=f"a token is read from {TOKEN_VARIABLE} alone"
    )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def token_for(base: str) -> str | None:
    """Return the token, where the address is the server that it belongs to: a task file may name anybody's."""
    belongs = os.environ.get(SERVER_VARIABLE, "").strip()
    try:
        ours = is_remote(belongs) and origin_of(base_of(belongs)) == origin_of(base)
    except ModelError:
        ours = False
    return (os.environ.get(TOKEN_VARIABLE, "").strip() or None) if ours else None
