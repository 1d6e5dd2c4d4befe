"""The world: environments with their scenes, the picture of a transition, pools of worker processes."""
