"""Can a reward teach? Numbers, pictures, a search for exploits and a verdict, before anybody pays for training."""

from gym_vlmrm.audit.oracle import OracleReward
from gym_vlmrm.audit.results import AuditReport, Verdict
from gym_vlmrm.audit.run import Audit, audit

__all__ = ["Audit", "AuditReport", "OracleReward", "Verdict", "audit"]
