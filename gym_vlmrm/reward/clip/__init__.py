"""Rewards of CLIP-type models: all that imports torch and open_clip."""
