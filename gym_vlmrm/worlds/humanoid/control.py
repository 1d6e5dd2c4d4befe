"""Position targets in place of torques: an action says where each joint shall be, and a servo takes it there.

Gymnasium's humanoid is moved by torques. Whoever has to stand with them must learn to stiffen every joint before
anything else; with targets the zero action is an upright body, and an agent learns poses and balance alone. No motor
is stronger than before.
"""

import math

import mujoco

__all__ = ["steer_by_position"]

STIFFNESS, DAMPING = 2.0, 0.1
"""Of a servo, per strength of its motor (gear): [Nm/rad] and [Nm s/rad]."""


def steer_by_position(spec: mujoco.MjSpec) -> None:
    """Make every motor of a model a servo whose action in [-1, 1] is its joint's target.

    0 is the joint's own zero, and 1 the farther end of its range on either side. Torques stay within what the motor
    could do: its gear times its control range.
    """
    for actuator in spec.actuators:
        joint = next(joint for joint in spec.joints if joint.name == actuator.target)
        gear, strongest = actuator.gear[0], max(abs(actuator.ctrlrange))
        farthest = max(abs(joint.range))
        radians = math.radians(farthest) if spec.compiler.degree else farthest
        actuator.gaintype, actuator.biastype = mujoco.mjtGain.mjGAIN_FIXED, mujoco.mjtBias.mjBIAS_AFFINE
        actuator.gainprm[0] = STIFFNESS * radians
        # MuJoCo takes an actuator's length and velocity to be its joint's times its gear.
        actuator.biasprm[1], actuator.biasprm[2] = -STIFFNESS / gear, -DAMPING / gear
        actuator.forcelimited, actuator.forcerange = True, (-strongest, strongest)
        actuator.ctrlrange = (-1.0, 1.0)
