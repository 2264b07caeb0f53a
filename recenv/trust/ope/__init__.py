"""Off-policy evaluation: what a policy would have brought, from a log of another policy's decisions."""

from recenv.trust.ope.audit import PROPENSITIES_WRONG, Audit, audit
from recenv.trust.ope.estimators import headline_estimator
from recenv.trust.ope.evaluation import evaluate
from recenv.trust.ope.inputs import LoggedBandit, Target
from recenv.trust.ope.verdict import NOT_ENOUGH_DATA, OK, Estimate

__all__ = [
    "NOT_ENOUGH_DATA",
    "OK",
    "PROPENSITIES_WRONG",
    "Audit",
    "Estimate",
    "LoggedBandit",
    "Target",
    "audit",
    "evaluate",
    "headline_estimator",
]
