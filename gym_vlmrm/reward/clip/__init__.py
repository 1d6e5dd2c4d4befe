"""Rewards of CLIP-type models: all that imports torch, and open_clip where a model is not `small`."""

from gym_vlmrm.worlds.triton import load_triton_apart

load_triton_apart()  # here, so that no module below can be first
