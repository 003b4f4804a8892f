"""Building validators ahead: what a training sends and receives is not built within an epoch's deadline."""

from __future__ import annotations

from tamiyo_leyline import AdaptationCommand, CommandOutcome, EpochReport, Problem, RunConfig
from tamiyo_leyline.api import (
    ClientDecision,
    ClientDecisionsReply,
    CompleteRequest,
    OutcomeReply,
    OutcomeRequest,
    RewindReply,
    RewindRequest,
)

from tamiyo_client.calls import Standing
from tamiyo_client.replies import EpochAnswer, UnknownProblem


def build_schemas() -> None:
    """Build the validators of all that a run's calls may need, troubles included.

    Those of looking at runs and decisions are built when they are used: no epoch waits for them.
    """
    for schema in (
        *(RunConfig, Standing, EpochReport, EpochAnswer, Problem, UnknownProblem),
        *(AdaptationCommand, ClientDecision, ClientDecisionsReply),
        *(CommandOutcome, OutcomeRequest, OutcomeReply),
        *(RewindRequest, RewindReply, CompleteRequest),
    ):
        schema.model_rebuild()
