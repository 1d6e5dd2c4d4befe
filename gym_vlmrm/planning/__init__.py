"""What a training will take before it is paid for: hours, arithmetic, memory, money."""

from gym_vlmrm.planning.forecast import Plan, make_plan

__all__ = ["Plan", "make_plan"]
