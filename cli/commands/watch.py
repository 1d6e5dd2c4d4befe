"""`vlmrm watch`: see it act."""

import os
import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import note, print_json, say
from ..options import Device, Json, OptionalRun, Quiet, Seed, named_or_newest, which_checkpoint
from ..paying import MaxQueries, PricePerQuery

if TYPE_CHECKING:
    from gym_vlmrm.learning.run_folder import RunFolder
    from gym_vlmrm.watching.episodes import Which

__all__ = ["watch"]

Checkpoint = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="WHICH",
        help="`best` (by VLM reward), `last`, or a step; the newest while it trains, then the best.",
    ),
]
Page = Annotated[
    bool | None,
    typer.Option("--page/--window", help="In the browser, or in a window; a window where there is a display."),
]
Port = Annotated[
    int | None,
    typer.Option("--port", metavar="N", min=0, max=65535, help="Port of the page; 8765 or the next free one."),
]
Fps = Annotated[float, typer.Option("--fps", metavar="X", min=0.1, max=200, help="Steps per second.")]
Episodes = Annotated[
    int | None, typer.Option("--episodes", metavar="N", min=1, help="Episodes to play; endless if not given.")
]


def watch(
    run: OptionalRun = None,
    checkpoint: Checkpoint = None,
    page: Page = None,
    port: Port = None,
    fps: Fps = 20.0,
    episodes: Episodes = None,
    device: Device = None,
    max_queries: MaxQueries = None,
    price_per_query: PricePerQuery = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Watch a run's policy act: live frame, sentence, reward curve, success light. Ctrl-C ends it.

    In a window where there is a display, else as a page on 127.0.0.1. It plays while somebody watches. A run that
    still trains shows its newest checkpoint, episode by episode.
    """
    which: Which = "newest" if checkpoint is None else which_checkpoint(checkpoint)
    from gym_vlmrm.learning.run_folder import RunFolder
    from gym_vlmrm.watching.episodes import check_playable
    from gym_vlmrm.watching.window import has_display

    folder = RunFolder.open(named_or_newest(run, playable=False))
    check_playable(folder, which)
    in_page = not has_display() or port is not None or json if page is None else page
    play = {"seed": seed, "device": device, "episodes": episodes, "on_notice": note}
    try:
        if in_page:
            _serve(folder, which, port, fps, play, json=json, quiet=quiet)
        else:
            _open_window(folder, which, fps, play, json=json)
    except KeyboardInterrupt as stop:
        if getattr(stop, "signal", signal.SIGINT) != signal.SIGINT:
            raise
        if not (json or quiet):
            say("stopped")


def _names(folder: "RunFolder") -> dict[str, str]:
    return {"title": folder.name, "sentence": "; ".join(folder.task.reward.said)}


def _serve(
    folder: "RunFolder", which: "Which", port: int | None, fps: float, play: dict[str, Any], *, json: bool, quiet: bool
) -> None:
    from gym_vlmrm.watching.episodes import pace, play_live
    from gym_vlmrm.watching.page import LivePage

    moments = play_live(folder, which, **play)
    with LivePage(port=port, **_names(folder)) as live:
        if json:
            print_json({"run": folder.name, "url": live.url})
        elif not quiet:
            say(f"{live.url} shows {folder.name}; Ctrl-C ends it")
            if os.environ.get("SSH_CONNECTION"):
                number = live.url.rstrip("/").rpartition(":")[2]
                say(f"from your own machine: ssh -L {number}:127.0.0.1:{number} THIS-HOST, then open {live.url} there")
        for _, moment in zip(pace(fps), moments, strict=False):
            live.show(moment)
            live.wait_for_watcher()


def _open_window(folder: "RunFolder", which: "Which", fps: float, play: dict[str, Any], *, json: bool) -> None:
    from gym_vlmrm.watching.episodes import pace, play_live
    from gym_vlmrm.watching.window import Window

    with Window(**_names(folder)) as window:
        if json:
            print_json({"run": folder.name, "url": None})
        for _, moment in zip(pace(fps), play_live(folder, which, **play), strict=False):
            if not window.show(moment):
                return
