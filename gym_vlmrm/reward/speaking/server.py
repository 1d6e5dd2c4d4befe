"""One question to a server that speaks OpenAI's protocol, by OpenAI's own client; errors in one line, without keys."""

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.speaking.address import Address
from gym_vlmrm.reward.speaking.questions import options_of, question_of
from gym_vlmrm.reward.urls import origin_of
from gym_vlmrm.task.yaml_file import shorten
from gym_vlmrm.worlds.pools.processes import patience

__all__ = ["BASE_VARIABLE", "KEY_VARIABLE", "Server", "key_for"]

KEY_VARIABLE, BASE_VARIABLE = "OPENAI_API_KEY", "OPENAI_BASE_URL"
"""Environment variables, OpenAI's own: the key, and the server that it belongs to."""
_OPENAI = "https://api.openai.com/v1"
RETRIES = 5
"""Times that the client asks again where a server is busy, gone or over its limit, after up to 8 s or as it says."""
TIMEOUT = 60.0
"""How long an answer may take [s], where ``GYM_VLMRM_TIMEOUT`` says nothing."""
LARGEST = 1_000_000
"""Longest answer that is read [bytes]."""


def key_for(address: Address) -> str | None:
    """Return the key, where the address is the server that it belongs to: a task file may name anybody's."""
    belongs = os.environ.get(BASE_VARIABLE, "").strip() or _OPENAI
    return os.environ.get(KEY_VARIABLE, "").strip() or None if origin_of(belongs) == address.origin else None


class Server:
    """A server and one of its models. Threads may share it, processes may not."""

    def __init__(self, address: Address, model: str) -> None:
        """Prepare to ask; nothing is sent yet. `model` is what errors call it.

        Raises:
            ModelError: the client is not installed.
        """
        try:
            import openai
        except ImportError:
            raise ModelError(f"'{model}' needs a package: pip install openai (gym-vlmrm[openai])") from None
        self._openai: Any = openai
        self._address, self._model, self._key = address, model, key_for(address)
        self._seconds = patience(default=TIMEOUT)
        timeout = None if self._seconds == float("inf") else self._seconds
        # Frames and key go to the address that somebody chose, and to none that it sends them on to.
        below = openai.DefaultHttpxClient(follow_redirects=False, event_hooks={"response": [self._bound]})
        self._client: Any = openai.OpenAI(
            base_url=address.url, api_key=self._key or "none", timeout=timeout, max_retries=RETRIES, http_client=below,
            default_headers={"Accept-Encoding": "identity"},
        )  # fmt: skip
        # What else the environment says of OpenAI is no other server's business.
        self._client.organization = self._client.project = self._client.admin_api_key = None

    def ask(self, picture: str, sentence: str) -> bytes:
        """Return the body of the answer about a picture, a data URI.

        Raises:
            ModelError: there is none, whatever the reason.
        """
        openai = self._openai
        content = [
            {"type": "image_url", "image_url": {"url": picture}},
            {"type": "text", "text": question_of(self._address.answer, sentence)},
        ]
        request = {"model": self._address.name, "messages": [{"role": "user", "content": content}]}
        completions = self._client.chat.completions.with_streaming_response
        try:
            with completions.create(**request, **options_of(self._address.answer)) as response:
                return self._read(response)
        except openai.APITimeoutError:
            raise self._error(f"did not answer within {self._seconds:g} s (GYM_VLMRM_TIMEOUT)") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise self._error(f"cannot be reached ({self._clean(cause)}); is the server running?") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise self._error(self._refused(error.status_code)) from None
        except openai.APIStatusError as error:
            raise self._error(self._status(error)) from None
        except openai.OpenAIError as error:
            raise self._error(f"cannot be asked ({self._clean(error)})") from None
        except Exception as error:  # of the library below, while the answer is read
            if not type(error).__module__.startswith(("httpx", "httpcore")):
                raise
            raise self._error(f"broke off its answer ({self._clean(error)})") from None

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _read(self, response: Any) -> bytes:
        return b"".join(response.iter_bytes())

    def _bound(self, response: Any) -> None:
        """Let no answer be longer than `LARGEST` or take longer than it may, whatever its status."""
        httpx: Any = sys.modules[type(response).__module__.partition(".")[0]]  # openai's versions have two of them
        inner, deadline, error = response.stream, time.monotonic() + self._seconds, self._error

        class Bounded(httpx.SyncByteStream):  # type: ignore[misc]
            def __iter__(self) -> Iterator[bytes]:
                length = 0
                for part in inner:
                    length += len(part)
                    if length > LARGEST:
                        raise error(f"sends an answer of more than {LARGEST:,} bytes")
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout("it takes too long")
                    yield part

            def close(self) -> None:
                inner.close()

        response.stream = Bounded()
        response.headers.pop("content-encoding", None)  # nobody asked for it, and a little may become a lot

    def _status(self, error: Any) -> str:
        """What a status other than 200 means, and what would be right."""
        status, said = error.status_code, self._clean(error)
        number = f"{status} ({said})" if said else f"{status}"
        if 300 <= status < 400:
            to = self._shorten(error.response.headers.get("location", "").partition("?")[0])
            return (
                f"sends questions on to '{to}' ({status}); frames and key go to the address behind the @ and nowhere "
                "else: write the right one there"
            )
        count = 1 + int(error.response.request.headers.get("x-stainless-retry-count") or 0)
        tries = "at the first try" if count == 1 else f"still after {count} tries"
        if status == 429:
            rest = error.response.headers.get("retry-after", "")
            later = f"in {rest} s" if rest.isdecimal() and len(rest) < 8 else "later"
            return f"is over its limit, {tries}: {number}; ask less at a time (GYM_VLMRM_CONCURRENCY), or go on {later}"
        if status >= 500:
            return f"failed, {tries}: {number}; see what the server's own log says, and go on when it is well again"
        right = {404: "; are the model's name and the URL's path right?", 413: "; a smaller render_size may be right"}
        return f"refuses the question: {number}{right.get(status, '')}"

    def _refused(self, status: int) -> str:
        if self._key is not None:
            return f"refuses the key of {KEY_VARIABLE} ({status})"
        scheme, host, port = self._address.origin
        return (
            f"wants a key ({status}): set {KEY_VARIABLE}, and {BASE_VARIABLE}={self._address.url}, as a key goes to "
            f"the server that it belongs to and nowhere else ({scheme}://{host}:{port} got none)"
        )

    def _error(self, words: str) -> ModelError:
        return ModelError(f"'{self._model}' {words}")

    def _clean(self, error: BaseException) -> str:
        """What an error says, on one line, shortened, and without the key."""
        said: Any = getattr(error, "body", None)
        if isinstance(said, dict):  # servers agree on no key
            said = next((said[key] for key in ("message", "detail", "error") if said.get(key)), None) or said
        if not said and hasattr(error, "response"):
            return self._shorten(error.response.text[:1000])
        return self._shorten(said or error or type(error).__name__) or type(error).__name__

    def _shorten(self, said: Any) -> str:
        text = "".join(letter if letter.isprintable() else " " for letter in str(said))
        return shorten(text.replace(self._key, "...") if self._key else text, 160)
