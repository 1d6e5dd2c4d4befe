"""Can a reward teach? Numbers, pictures, a search for exploits and a verdict, before anybody pays for training."""

from gym_vlmrm.auditing.examine import Audit, audit
from gym_vlmrm.auditing.oracle import OracleReward
from gym_vlmrm.auditing.results import AuditReport, Verdict

__all__ = ["Audit", "AuditReport", "OracleReward", "Verdict", "audit"]
