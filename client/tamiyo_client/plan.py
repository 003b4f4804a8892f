"""What a run is to be: its id, its configuration as its user wrote it, and how it resumes."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, SupportsIndex, TypeAlias, TypedDict

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from tamiyo_leyline import (
    AccuracyUnit,
    HeuristicConfig,
    HostDescription,
    LearnedConfig,
    Objective,
    PolicyChoice,
    RunConfig,
    RunStatus,
    Topology,
    TrackerConfig,
)
from tamiyo_leyline.fields import MAX_COUNT, RUN_ID_PATTERN

from tamiyo_client.calls import Standing
from tamiyo_client.errors import ResumeRequiredError, RunCompletedError, UsageError
from tamiyo_client.measurements import explained


@dataclass(frozen=True, slots=True, init=False)
class Rewind:
    """Resume from a checkpoint: a new attempt opens with the state after the last epoch ≤ `to_epoch`.

    Args:
        to_epoch: last epoch the checkpoint contains, of any integer type (NumPy's, say); None: start over.

    Attributes:
        to_epoch: the same, as a Python integer.

    Raises:
        UsageError: if that is no epoch.
    """

    to_epoch: int | None

    def __init__(self, to_epoch: SupportsIndex | None) -> None:
        number = None if to_epoch is None else _epoch_number(to_epoch)
        object.__setattr__(self, "to_epoch", number)


def _epoch_number(epoch: SupportsIndex) -> int:
    try:
        number = -1 if isinstance(epoch, bool) else operator.index(epoch)
    except TypeError:
        number = -1
    if not 0 <= number <= MAX_COUNT:
        raise UsageError(f"a rewind goes to an epoch number of at least 0, or None; got {epoch!r}")
    return number


Resume: TypeAlias = Rewind | SupportsIndex | Literal["continue"] | None
"""How a run with a history is taken up: ``"continue"`` after its last epoch, `Rewind(n)` (or just n) from
the checkpoint of epoch n, None: not at all. A run without a history simply starts, whatever this says, so
that a job which may be restarted says ``resume="continue"`` from the first time on."""


class RunParts(TypedDict, total=False):
    """Keywords of `run()`: the parts of a `RunConfig`, as values or as dicts."""

    topology: str | Topology | Mapping[str, Any]
    policy: PolicyChoice | Mapping[str, Any]
    heuristic: HeuristicConfig | Mapping[str, Any]
    learned: LearnedConfig | Mapping[str, Any]
    tracker: TrackerConfig | Mapping[str, Any]
    objective: Objective | str
    accuracy_unit: AccuracyUnit | str
    max_epochs: int
    host: HostDescription | Mapping[str, Any]
    labels: Mapping[str, str]


_DOTS: Final = frozenset({".", ".."})
"""Valid run ids by their characters, but every HTTP library takes them for steps in the path."""


class RunPlan(NamedTuple):
    """What a run is to be.

    Attributes:
        run_id: its id.
        config: body of the PUT: only what the user wrote, so that a default which changes in a later version
            of this client does not turn the same program's configuration into another one.
        resume: how a run with a history is taken up.
    """

    run_id: str
    config: bytes
    resume: Rewind | Literal["continue"] | None


def plan_run(run_id: str, config: RunConfig | None, resume: Resume, parts: RunParts) -> RunPlan:
    """The plan for these arguments of `run()`.

    Raises:
        UsageError: if an id, a part of the configuration or `resume` is not valid.
    """
    if config is not None and parts:
        raise UsageError(f"pass either config= or its parts ({', '.join(parts)}), not both")
    return RunPlan(require_run_id(run_id), _config_body(config, parts), _resumption(resume))


def require_run_id(run_id: str) -> str:
    """`run_id`, if it is one.

    Raises:
        UsageError: if it is not.
    """
    if not isinstance(run_id, str) or run_id in _DOTS or not re.fullmatch(RUN_ID_PATTERN, run_id):
        raise UsageError(f"a run id is 1 to 128 of the characters A-Z a-z 0-9 . _ : -, got {run_id!r}")
    return run_id


def require_startable(standing: Standing, plan: RunPlan) -> None:
    """Let a run start as planned, or not.

    Raises:
        ResumeRequiredError: if it has a history and the plan does not say how to resume.
        RunCompletedError: if it is over and the plan does not rewind it.
    """
    if plan.resume is None and standing.has_history:
        raise ResumeRequiredError(
            f"run {plan.run_id!r} has been reported before (attempt {standing.attempt}, last epoch "
            f'{standing.last_epoch}); pass resume="continue", resume=<epoch of the checkpoint>, or another id'
        )
    if standing.status is RunStatus.COMPLETED and not isinstance(plan.resume, Rewind):
        raise RunCompletedError(
            f"run {plan.run_id!r} is over; pass resume=<epoch of the checkpoint> to reopen it, or another id"
        )


def _resumption(resume: Resume) -> Rewind | Literal["continue"] | None:
    if resume is None or isinstance(resume, Rewind):
        return resume
    if isinstance(resume, str):
        if resume == "continue":
            return resume
    elif hasattr(resume, "__index__") and not isinstance(resume, bool):
        return Rewind(resume)
    raise UsageError(f'resume is None, "continue", an epoch or a Rewind, got {resume!r}')


def _config_body(config: RunConfig | None, parts: RunParts) -> bytes:
    if config is not None:
        return config.model_dump_json(exclude_unset=True).encode()
    try:
        RunConfig.model_validate(parts)
    except ValidationError as error:
        raise UsageError(explained(error)) from error
    return to_json({name: _as_written(value) for name, value in parts.items()})


def _as_written(value: object) -> object:
    return value.model_dump(mode="json", exclude_unset=True) if isinstance(value, BaseModel) else value
