"""Leyline: the language trainer and service both speak.

Schemas, stages, actions, commands, signals and problem codes; nothing here knows HTTP but `api`.
"""

from tamiyo_leyline.command import COMMAND_SHAPES, AdaptationCommand, command_for
from tamiyo_leyline.config import (
    HeuristicConfig,
    HostDescription,
    LearnedConfig,
    PolicyChoice,
    RunConfig,
    TrackerConfig,
)
from tamiyo_leyline.decision import (
    Comparison,
    DecisionItem,
    DecisionRecord,
    DecisionReply,
    OutcomeRecord,
    PolicyIdentity,
    ShadowDecision,
    SlotDecision,
    TelemetryEvent,
)
from tamiyo_leyline.enums import (
    LEGAL_TRANSITIONS,
    AccuracyUnit,
    ActionKind,
    CommandStatus,
    CommandType,
    Objective,
    RiskLevel,
    RunResult,
    RunStatus,
    SeedStage,
    TelemetryEventType,
)
from tamiyo_leyline.field_report import FieldDecision, FieldReport
from tamiyo_leyline.problem import FieldError, Problem, ProblemCode
from tamiyo_leyline.report import (
    CommandOutcome,
    EpochReport,
    SeedMetrics,
    SeedStateReport,
    SeedTelemetry,
    telemetry_features,
)
from tamiyo_leyline.signals import (
    FEATURE_NAMES,
    FastTrainingSignals,
    SeedSignals,
    TrainingMetrics,
    TrainingSignals,
)
from tamiyo_leyline.topology import TOPOLOGIES, Action, ActionLayout, Blueprint, Topology, action_layout
from tamiyo_leyline.validation import field_errors, problem_code
from tamiyo_leyline.version import LEYLINE_VERSION, __version__

__all__ = [
    "COMMAND_SHAPES",
    "FEATURE_NAMES",
    "LEGAL_TRANSITIONS",
    "LEYLINE_VERSION",
    "TOPOLOGIES",
    "AccuracyUnit",
    "Action",
    "ActionKind",
    "ActionLayout",
    "AdaptationCommand",
    "Blueprint",
    "CommandOutcome",
    "CommandStatus",
    "CommandType",
    "Comparison",
    "DecisionItem",
    "DecisionRecord",
    "DecisionReply",
    "EpochReport",
    "FastTrainingSignals",
    "FieldDecision",
    "FieldError",
    "FieldReport",
    "HeuristicConfig",
    "HostDescription",
    "LearnedConfig",
    "Objective",
    "OutcomeRecord",
    "PolicyChoice",
    "PolicyIdentity",
    "Problem",
    "ProblemCode",
    "RiskLevel",
    "RunConfig",
    "RunResult",
    "RunStatus",
    "SeedMetrics",
    "SeedSignals",
    "SeedStage",
    "SeedStateReport",
    "SeedTelemetry",
    "ShadowDecision",
    "SlotDecision",
    "TelemetryEvent",
    "TelemetryEventType",
    "Topology",
    "TrackerConfig",
    "TrainingMetrics",
    "TrainingSignals",
    "__version__",
    "action_layout",
    "command_for",
    "field_errors",
    "problem_code",
    "telemetry_features",
]
