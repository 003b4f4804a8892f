"""How decisions are made: pure functions of state and report.

No input or output, no clock, no randomness: time, ids and random numbers come in as arguments.
"""

from tamiyo_core.answer import to_command
from tamiyo_core.engine import Engine, Observation, Step
from tamiyo_core.explain import explain_features, explain_slots
from tamiyo_core.heuristic import HeuristicPolicy, HeuristicState
from tamiyo_core.identity import CommandRef, command_id, decision_id, parse_command_id, uniform_draw
from tamiyo_core.ledger import CommandLedger, LedgerStep
from tamiyo_core.ledger_page import Transition
from tamiyo_core.legality import IllegalDecisionError, germination_open, mask_of
from tamiyo_core.overriding import Override
from tamiyo_core.policy import (
    Advice,
    AskingPolicy,
    Comparison,
    Decision,
    DecisionContext,
    Policy,
    Question,
    RowAdvice,
)
from tamiyo_core.registry import (
    BUILT_IN,
    ENTRY_POINT_GROUP,
    BrokenPolicyError,
    UnknownPolicyError,
    build_policy,
    installed_policies,
)
from tamiyo_core.rules import RULES_VERSION
from tamiyo_core.state import RunState, SnapshotError, TrackerState
from tamiyo_core.tracker import SignalTracker

__all__ = [
    "BUILT_IN",
    "ENTRY_POINT_GROUP",
    "RULES_VERSION",
    "Advice",
    "AskingPolicy",
    "BrokenPolicyError",
    "CommandLedger",
    "CommandRef",
    "Comparison",
    "Decision",
    "DecisionContext",
    "Engine",
    "HeuristicPolicy",
    "HeuristicState",
    "IllegalDecisionError",
    "LedgerStep",
    "Observation",
    "Override",
    "Policy",
    "Question",
    "RowAdvice",
    "RunState",
    "SignalTracker",
    "SnapshotError",
    "Step",
    "TrackerState",
    "Transition",
    "UnknownPolicyError",
    "build_policy",
    "command_id",
    "decision_id",
    "explain_features",
    "explain_slots",
    "germination_open",
    "installed_policies",
    "mask_of",
    "parse_command_id",
    "to_command",
    "uniform_draw",
]
