"""Rehearsal: a run played by hand, for tests of policies and of their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from tamiyo_leyline import EpochReport, RunConfig

from tamiyo_core.engine import Engine, Step
from tamiyo_core.identity import decision_id
from tamiyo_core.overriding import Override
from tamiyo_core.policy import Advice, Policy, Question
from tamiyo_core.registry import build_policy

MOMENT: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""When every decision of a rehearsal is made."""


class Rehearsal:
    """Feeds reports to an engine one by one and keeps its latest state.

    Args:
        config: of the run, as the body of ``PUT /runs/{run_id}`` or validated.
        policy: decides; default: the one the configuration names.
        advise: answers the questions of a policy that asks a network; default: there is no network.

    Raises:
        pydantic.ValidationError: if the configuration is not valid.
    """

    def __init__(
        self,
        config: RunConfig | Mapping[str, Any] | None = None,
        policy: Policy | None = None,
        advise: Callable[[Sequence[Question]], Advice] | None = None,
    ) -> None:
        self.config: Final = RunConfig.model_validate({} if config is None else config)
        self.engine: Final = Engine(self.config, build_policy(self.config) if policy is None else policy)
        self.state = self.engine.initial()
        self._advise = no_advice if advise is None else advise

    def report(
        self,
        epoch: int,
        *seeds: Mapping[str, Any],
        hold: str | None = None,
        draw: float = 1.0,
        backfill: bool = False,
        override: Override | None = None,
        **fields: Any,
    ) -> Step:
        """Report an epoch and go on from the state it leads to.

        Args:
            epoch: greater than the one before.
            *seeds: as in a report; see `seed`.
            hold: reason of an operator's hold.
            draw: the random number of this report.
            backfill: whether the report is late.
            override: an operator's order.
            **fields: others of the report; ``available_slots`` is 1 unless given.

        Raises:
            pydantic.ValidationError: if the report is not valid.
            IllegalDecisionError: if the policy breaks its contract.
        """
        content = {"available_slots": 1} | fields | {"epoch": epoch, "seeds": seeds}
        report = EpochReport.model_validate(content)
        observation = self.engine.observe(self.state, report, held=hold is not None, draw=draw)
        step = self.engine.conclude(
            observation,
            decision_id=decision_id("rehearsal", 0, epoch),
            now=MOMENT,
            hold=hold,
            backfill=backfill,
            advice=self._advise(observation.questions) if observation.questions else None,
            override=override,
        )
        self.state = step.state
        return step


def no_advice(_questions: Sequence[Question]) -> Advice:
    """The answer where there is no network."""
    return "there is no network"


def seed(
    seed_id: str,
    stage: str,
    *,
    slot_id: str | None = None,
    blueprint_id: str = "norm",
    alpha: float = 0.0,
    telemetry: Mapping[str, Any] | None = None,
    **metrics: Any,
) -> dict[str, Any]:
    """A seed of a report.

    Args:
        seed_id: its id.
        stage: name of its stage.
        slot_id: default: a slot called after the seed.
        blueprint_id: its blueprint.
        alpha: blending weight.
        telemetry: gradient health, as in a report.
        **metrics: fields of `SeedMetrics`.
    """
    return {
        "seed_id": seed_id,
        "slot_id": slot_id or f"slot-of-{seed_id}",
        "blueprint_id": blueprint_id,
        "stage": stage,
        "alpha": alpha,
        "metrics": metrics or None,
        "telemetry": telemetry,
    }
