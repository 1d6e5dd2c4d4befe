"""Names of judges that speak: ``openai:NAME@URL``, or ``openai-grade:NAME@URL``."""

import re
from dataclasses import dataclass
from typing import Literal

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.urls import origin_of, server_url

__all__ = ["SCHEMES", "Address", "find_address", "speaks"]

Answer = Literal["yes", "grade"]
SCHEMES: dict[str, Answer] = {"openai:": "yes", "openai-grade:": "grade"}
"""Beginning of a model's name to what it is asked for: the log-probability of "yes", or a grade."""
_EXAMPLE = "openai:NAME@http://localhost:8000/v1"
_NAME = re.compile(r"[\w.:/+-]{1,200}", re.ASCII)


@dataclass(frozen=True)
class Address:
    """A model of a server, and what it is asked for."""

    answer: Answer
    name: str
    """The name by which the server knows the model."""
    url: str
    """Where the protocol's paths begin, such as ``http://localhost:8000/v1``."""

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return origin_of(self.url)


def speaks(model: str) -> bool:
    """Whether a model's name is one of a judge that speaks."""
    return model.startswith(tuple(SCHEMES))


def find_address(model: str) -> Address:
    """Return what ``openai:NAME@URL`` means; a URL without a path means its ``/v1``.

    Raises:
        ModelError: it is no such name, or the URL brings a user, a password, a query or a fragment.
    """
    scheme, answer = next((known, kind) for known, kind in SCHEMES.items() if model.startswith(known))
    name, _, url = model.removeprefix(scheme).partition("@")
    parts = server_url(
        url, model=model, called=f"a '{scheme}' model", written=f"{scheme}NAME@URL, such as {_EXAMPLE}",
        secret="a key is read from OPENAI_API_KEY alone",
    )  # fmt: skip
    if not _NAME.fullmatch(name):
        raise ModelError(f"{model!r:.200} is no address of a judge; write it as {scheme}NAME@URL, such as {_EXAMPLE}")
    path = parts.path.rstrip("/")
    return Address(answer, name, f"{parts.scheme}://{parts.netloc}{path or '/v1'}")
