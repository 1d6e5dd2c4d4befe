"""Models that see the pictures of a window as a film: the embedded model by its motion head, and video models."""
