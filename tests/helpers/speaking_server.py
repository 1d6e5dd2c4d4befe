"""A stand-in for a server that speaks OpenAI's protocol: it judges a picture by how bright it is.

It checks what vLLM, SGLang, llama.cpp and OpenAI's own server check of a chat completion with a picture, and answers
by their schema.
"""

import base64
import contextlib
import io
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image


@dataclass
class Desk:
    """What the server knows and does; `trouble` may answer a request otherwise, as (status, headers, body)."""

    port: int = 0
    key: str | None = None
    questions: list[str] = field(default_factory=list)
    """All that were answered."""
    headers: list[dict[str, str]] = field(default_factory=list)
    trouble: Callable[[int], tuple[int, dict[str, str], bytes] | None] = lambda number: None
    """By the number of the request, from 1 on."""
    says: Callable[[str, float], str] | None = None
    """Text by question and brightness; a fitting answer if not given."""
    delay: float = 0.0
    logprobs: bool = True
    requests: int = 0
    most_at_once: int = 0
    now: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def model(self, scheme: str = "openai") -> str:
        return f"{scheme}:org/bright-vlm@{self.url}"


def error(status: int, message: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return status, headers, json.dumps(body).encode()


def brightness_of(content: list[dict[str, Any]]) -> float:
    (picture,) = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    head, _, data = picture.partition(";base64,")
    assert head == "data:image/png", head
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    return float(np.asarray(image.convert("RGB"), np.float64).mean() / 255)


def completion(desk: Desk, request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    if request["model"] != "org/bright-vlm":
        return error(404, f"The model `{request['model']}` does not exist.")
    (message,) = request["messages"]
    assert (message["role"], request["temperature"], bool(request.get("stream"))) == ("user", 0, False)
    (question,) = [part["text"] for part in message["content"] if part["type"] == "text"]
    bright = brightness_of(message["content"])
    if "dark" in question:
        bright = 1 - bright
    with desk.lock:
        desk.questions.append(question)
    asked = "yes or no" in question
    said = f"{100 * bright:.0f}" if not asked else "yes" if bright > 0.5 else "no"
    if desk.says is not None:
        said = desk.says(question, bright)
    choice: dict[str, Any] = {
        "index": 0, "message": {"role": "assistant", "content": said, "refusal": None}, "finish_reason": "stop",
        "logprobs": None,
    }  # fmt: skip
    if request.get("logprobs") and desk.logprobs:
        assert 0 < request["top_logprobs"] <= 20
        chances = {"Yes": 0.6 * bright, " yes": 0.3 * bright, "No": 0.9 * (1 - bright), "The": 0.1}
        if desk.says is not None:
            chances = {said: 0.9, "The": 0.05}
        tokens = [
            {"token": token, "logprob": math.log(chance) if chance else -9999.0, "bytes": list(token.encode())}
            for token, chance in sorted(chances.items(), key=lambda item: -item[1])
        ]
        choice["logprobs"] = {"content": [{**tokens[0], "top_logprobs": tokens}], "refusal": None}
    usage = {"prompt_tokens": 80, "completion_tokens": 1, "total_tokens": 81}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": request["model"]}
    return 200, {}, json.dumps({**body, "choices": [choice], "usage": usage}).encode()


@contextlib.contextmanager
def speaking_server(**settings: Any) -> Iterator[Desk]:
    desk = Desk(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with desk.lock:
                desk.requests += 1
                number = desk.requests
                desk.now += 1
                desk.most_at_once = max(desk.most_at_once, desk.now)
                desk.headers.append({name.lower(): value for name, value in self.headers.items()})
            time.sleep(desk.delay)
            given = self.headers.get("Authorization")
            answer = desk.trouble(number)
            if answer is None and desk.key is not None and given != f"Bearer {desk.key}":
                answer = error(401, f"Incorrect API key provided: {given}.")
            if answer is None and self.path != "/v1/chat/completions":
                answer = error(404, "Not Found")
            status, headers, content = answer or completion(desk, json.loads(body))
            with desk.lock:
                desk.now -= 1
            with contextlib.suppress(OSError):  # who asked may be gone
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    desk.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield desk
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
