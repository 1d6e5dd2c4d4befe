"""URLs of servers that judge: what they may bring, and whose secret may go there."""

from urllib.parse import SplitResult, urlsplit

from gym_vlmrm.errors import ModelError

__all__ = ["origin_of", "server_url"]


def server_url(url: str, *, model: str, called: str, written: str, secret: str) -> SplitResult:
    """Return the parts of a server's URL, which run folders keep.

    Args:
        url: as it was written.
        model: the model's name that brings it.
        called: what errors call it.
        written: how it is to be written.
        secret: where a key or token is read from instead.

    Raises:
        ModelError: it is none, or brings a user, a password, a query or a fragment.
    """
    if "@" in url:  # which is shown nowhere
        raise ModelError(
            f"the URL of {called} brings a user or password, which run folders would keep; leave it out: {secret}"
        )
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        right = False
    if not right or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ModelError(f"{model!r:.200} is no address of a judge; write it as {written}")
    if parts.query or parts.fragment:
        raise ModelError(
            f"the URL of {called} brings a query or fragment, which run folders would keep; leave it out, as in "
            f"{written}"
        )
    return parts


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
