"""Messages between two processes of one user: one line of JSON each, frames in memory that both can read."""

import contextlib
import json
import os
import select
import socket
import struct
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError, VLMRMError
from gym_vlmrm.reward.protocol import check_sides

__all__ = [
    "MAX_COUNT",
    "MAX_FRAMES",
    "MAX_LINE",
    "VERSION",
    "GoneError",
    "SharedFrames",
    "Wire",
    "WireError",
    "read_frames",
]

VERSION = 1
"""Of what is said; another one is refused by both sides."""
MAX_LINE = 4_000_000
"""Longest message [bytes]."""
MAX_COUNT = 4096
"""Most frames of one request."""
MAX_FRAMES = 64_000_000
"""Most pixels, times three colours, of one request [bytes]."""
_PIECE = 65_536


class WireError(VLMRMError):
    """What came is no message."""


class GoneError(VLMRMError):
    """The other side has gone."""


class Wire:
    """One side of a talk over a connected local socket."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._read = bytearray()
        self.descriptor: int | None = None
        """A file that the other side passed on with its latest message; whoever takes it closes it."""

    def send(self, message: dict[str, Any], descriptor: int | None = None) -> None:
        """Send a message, and a file if there is one; raises GoneError, TimeoutError, or ModelError if it is long."""
        line = json.dumps(message, allow_nan=False).encode() + b"\n"
        if len(line) > MAX_LINE:
            raise ModelError(f"a message of {len(line):,} bytes is too long; the limit is {MAX_LINE:,}")
        try:
            sent = socket.send_fds(self.socket, [line], [] if descriptor is None else [descriptor])
            if sent < len(line):
                self.socket.sendall(line[sent:])
        except TimeoutError:
            raise
        except OSError as error:
            raise GoneError(str(error)) from None

    def wait(self, seconds: float) -> bool:
        """Whether something can be read within some time [s]."""
        return b"\n" in self._read or bool(select.select([self.socket], [], [], seconds)[0])

    def receive(self) -> dict[str, Any]:
        """Return the next message.

        Raises:
            WireError: what came is none, or too long.
            GoneError: the other side has gone.
            TimeoutError: the rest of a message does not come.
        """
        while (end := self._read.find(b"\n")) < 0:
            if len(self._read) > MAX_LINE:
                raise WireError(f"it is longer than {MAX_LINE:,} bytes")
            try:
                data, descriptors, _, _ = socket.recv_fds(self.socket, _PIECE, 1)
            except TimeoutError:
                raise
            except OSError as error:
                raise GoneError(str(error)) from None
            for descriptor in descriptors:
                self._drop()
                self.descriptor = descriptor
            if not data:
                raise GoneError("it closed the connection")
            self._read += data
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            raise WireError("it is no JSON") from None
        if not isinstance(message, dict):
            raise WireError("it is no JSON object")
        return message

    def take_descriptor(self) -> int | None:
        """Return the file that came with the latest message, if one did."""
        taken, self.descriptor = self.descriptor, None
        return taken

    def has_gone(self) -> bool:
        """Whether the other side has closed the connection, while it should wait for an answer."""
        look = select.poll()  # select.select knows no descriptor beyond 1023
        look.register(self.socket, select.POLLIN)
        if not look.poll(0):
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def peer_user(self) -> int | None:
        """Return the number of the user at the other side, where the system tells."""
        if not hasattr(socket, "SO_PEERCRED"):
            return None
        data = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", data)[1])

    def _drop(self) -> None:
        left = self.take_descriptor()
        if left is not None:
            os.close(left)

    def close(self) -> None:
        """End the talk."""
        self._drop()
        with contextlib.suppress(OSError):
            self.socket.close()


class SharedFrames:
    """Memory without a name, which two processes read and write: it goes with the last of them, however that ends."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("gym-vlmrm-frames", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())

    def write(self, frames: NDArray[np.uint8]) -> None:
        """Write frames (N, H, W, 3) for the other side to read."""
        view = np.ascontiguousarray(frames).data.cast("B")
        done = 0
        while done < len(view):
            done += os.pwrite(self.descriptor, view[done:], done)

    def close(self) -> None:
        """Let go of the memory."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


def read_frames(descriptor: int, shape: Any) -> NDArray[np.uint8]:
    """Return a copy of the frames (N, H, W, 3) that the other side wrote.

    Raises:
        WireError: `shape` is none of frames, too large, has too long a side, or the memory is smaller than it says.
    """
    if not (isinstance(shape, list) and len(shape) == 3 and all(type(side) is int and side > 0 for side in shape)):
        raise WireError(f"frames have no shape {shape!r:.80}")
    if max(shape) > MAX_FRAMES or shape[0] > MAX_COUNT or np.prod([*shape, 3], dtype=float) > MAX_FRAMES:
        raise WireError(f"frames of shape {shape!r:.80} are more than {MAX_FRAMES:,} bytes, or {MAX_COUNT:,}")
    try:
        check_sides(*shape[1:])
    except ModelError as error:
        raise WireError(str(error)) from None
    frames = np.empty((*shape, 3), np.uint8)
    view, done = frames.data.cast("B"), 0
    while done < len(view):
        try:
            read = os.preadv(descriptor, [view[done:]], done)
        except OSError as error:
            raise WireError(f"the memory of its frames cannot be read ({error.strerror})") from None
        if not read:
            raise WireError(f"the memory of its frames has {done:,} bytes instead of {len(view):,}")
        done += read
    return frames
