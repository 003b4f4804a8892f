"""Rehearsal: a run played by hand, for tests of policies and of their settings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tamiyo_leyline import EpochReport, RunConfig

from tamiyo_core.engine import Engine, Step
from tamiyo_core.identity import decision_id
from tamiyo_core.policy import Policy
from tamiyo_core.registry import build_policy

MOMENT: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""When every decision of a rehearsal is made."""


class Rehearsal:
    """Feeds reports to an engine one by one and keeps its latest state.

    Args:
        config: of the run, as the body of ``PUT /runs/{run_id}`` or validated.
        policy: decides; default: the one the configuration names.

    Raises:
        pydantic.ValidationError: if the configuration is not valid.
    """

    def __init__(
        self, config: RunConfig | Mapping[str, Any] | None = None, policy: Policy | None = None
    ) -> None:
        self.config: Final = RunConfig.model_validate({} if config is None else config)
        self.engine: Final = Engine(self.config, build_policy(self.config) if policy is None else policy)
        self.state = self.engine.initial()

    def report(
        self,
        epoch: int,
        *seeds: Mapping[str, Any],
        hold: str | None = None,
        draw: float = 1.0,
        backfill: bool = False,
        **fields: Any,
    ) -> Step:
        """Report an epoch and go on from the state it leads to.

        Args:
            epoch: greater than the one before.
            *seeds: as in a report; see `seed`.
            hold: reason of an operator's hold.
            draw: the random number of this report.
            backfill: whether the report is late.
            **fields: others of the report; ``available_slots`` is 1 unless given.

        Raises:
            pydantic.ValidationError: if the report is not valid.
            IllegalDecisionError: if the policy breaks its contract.
        """
        content = {"available_slots": 1} | fields | {"epoch": epoch, "seeds": seeds}
        step = self.engine.step(
            self.state,
            EpochReport.model_validate(content),
            decision_id=decision_id("rehearsal", 0, epoch),
            now=MOMENT,
            hold=hold,
            draw=draw,
            backfill=backfill,
        )
        self.state = step.state
        return step


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
