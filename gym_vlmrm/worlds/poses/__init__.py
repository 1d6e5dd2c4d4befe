"""Poses of the humanoid: kinematics, legs, arms, near misses."""
