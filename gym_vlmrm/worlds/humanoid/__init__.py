"""The humanoid: scene, state and environment."""
