"""Judges behind HTTP: frames go to a server of this package (`vlmrm serve --http`), and rewards come back.

Importing this package, and using it, imports neither torch nor open_clip.
"""

from gym_vlmrm.reward.remote.address import is_remote

__all__ = ["is_remote"]
