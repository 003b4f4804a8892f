"""From what a trainer has at hand (NumPy or torch scalars, dicts, NaN) to an `EpochReport`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, Required, TypeAlias, TypedDict

from pydantic import BaseModel, ValidationError
from tamiyo_leyline import CommandOutcome, EpochReport, SeedStateReport
from tamiyo_leyline.validation import field_errors

from tamiyo_client.errors import UsageError


class Scalar(Protocol):
    """A NumPy scalar, a zero-dimensional torch tensor, …: whatever has `item()`."""

    def item(self) -> Any:
        """The value as a Python number."""
        ...


Number: TypeAlias = float | Scalar


class EpochMeasurements(TypedDict, total=False):
    """Keywords of `epoch()`: the fields of an `EpochReport`, whose attempt the client knows itself."""

    epoch: Required[int | Scalar]
    """Number of the evaluation; strictly increasing, gaps allowed."""
    available_slots: Required[int | Scalar]
    """Slots free for a new seed."""
    global_step: int | Scalar
    """Optimizer steps so far."""
    train_loss: Number | None
    """None: not measured; NaN and infinities are data (the training diverged)."""
    val_loss: Number | None
    """As train_loss."""
    train_accuracy: Number | None
    """Percent 0–100 (or 0–1, see accuracy_unit); None or not finite: not measured."""
    val_accuracy: Number | None
    """As train_accuracy."""
    seeds: Iterable[SeedStateReport | Mapping[str, Any]]
    """Every seed the trainer holds, at most 64."""
    grad_norm_host: Number | None
    """L2 norm of the host's gradients; None or not finite: not measured."""
    gpu_memory_gb: Number | None
    """GPU memory in use, GiB."""
    gpu_utilization: Number | None
    """Share of time the GPU was busy, 0–1."""
    epoch_duration_ms: Number | None
    """Wall time of the epoch, ms."""
    outcomes: Iterable[CommandOutcome | Mapping[str, Any]]
    """What became of earlier commands; `run.outcome()` is another way to say it."""


_KEPT_AS_GIVEN: Final = frozenset(
    {
        "train_loss",
        "val_loss",
        "initial_val_loss",
        "current_val_loss",
        "loss_at_stage_start",
        "counterfactual_val_loss",
        "alpha",
    }
)
"""Not finite, a loss means a diverged training, and a blending weight a mistake that is refused."""
ACCURACY_NOISE: Final = 1e-6
"""By this share an accuracy of 1 or 100 may be exceeded: rounding in float32."""
_GRADIENT_FLAGS: Final = ("has_vanishing", "has_exploding")
_LISTS: Final = frozenset({"seeds", "outcomes"})
Warn: TypeAlias = Callable[[str], None]


def build_report(measurements: EpochMeasurements, warn: Warn) -> EpochReport:
    """The report that these measurements make.

    NumPy and torch scalars become Python numbers; an accuracy that exceeds 1 or 100 by rounding in float32
    becomes 1 or 100. A number that is not finite stays where it is a loss and counts as not measured
    everywhere else, which `warn` is told. Gradient telemetry that loses a number this way and raises no flag
    is left out as a whole: its defaults would claim healthy gradients.

    Args:
        measurements: the keywords of `epoch()`.
        warn: called with the name of a field that was not finite.

    Raises:
        UsageError: if a value is not what the field allows; the message names field and remedy.
    """
    plain = _cleaned(measurements, warn)
    try:
        return EpochReport.model_validate(plain)
    except ValidationError as error:
        raise UsageError(explained(error)) from error


def require_report(report: object) -> EpochReport:
    """`report`, if it is one.

    Raises:
        UsageError: if it is not.
    """
    if not isinstance(report, EpochReport):
        raise UsageError(f"report() takes an EpochReport, got {type(report).__name__}; see epoch()")
    return report


def require_keywords(measurements: Mapping[str, Any]) -> None:
    """Let the keywords of `epoch()` pass, or not, as Python does for a plain signature.

    Raises:
        TypeError: on a keyword that is no measurement, or without epoch or available_slots.
    """
    unknown = [name for name in measurements if name not in EpochMeasurements.__annotations__]
    if unknown:
        raise TypeError(f"epoch() got unexpected keywords: {', '.join(unknown)}")
    missing = [name for name in ("epoch", "available_slots") if name not in measurements]
    if missing:
        raise TypeError(f"epoch() is missing keywords: {', '.join(missing)}")


def _cleaned(fields: Mapping[str, Any], warn: Warn) -> dict[str, Any]:
    return {name: _plain(name, value, warn) for name, value in fields.items()}


def _plain(name: str, value: Any, warn: Warn) -> Any:
    if value is None or isinstance(value, str | BaseModel):
        return value
    if isinstance(value, Mapping):
        return _telemetry(value, warn) if name == "telemetry" else _cleaned(value, warn)
    if name in _LISTS and isinstance(value, Iterable):
        return tuple(_plain(name, entry, warn) for entry in value)
    number = _item(name, value)
    if isinstance(number, float) and not math.isfinite(number) and name not in _KEPT_AS_GIVEN:
        warn(name)
        return None
    return _without_noise(number) if isinstance(number, float) and "accuracy" in name else number


def _without_noise(accuracy: float) -> float:
    # 100 × a float32 mean may come out a little above 100 (or 1, with accuracy_unit fraction).
    if 1.0 < accuracy <= 1.0 + ACCURACY_NOISE:
        return 1.0
    return 100.0 if 100.0 < accuracy <= 100.0 * (1.0 + ACCURACY_NOISE) else accuracy


def _telemetry(fields: Mapping[str, Any], warn: Warn) -> dict[str, Any] | None:
    cleaned = {name: value for name, value in _cleaned(fields, warn).items() if value is not None}
    raised = any(cleaned.get(flag) for flag in _GRADIENT_FLAGS)
    return cleaned if raised or len(cleaned) == len(fields) else None


def _item(name: str, value: Any) -> Any:
    if not hasattr(value, "item"):
        return value
    try:
        return value.item()
    except (ValueError, RuntimeError, TypeError) as error:
        # What NumPy and torch raise for an array of several elements.
        raise UsageError(f"{name} must be a single number: {error}") from error


def explained(error: ValidationError) -> str:
    """The faults of an input in one line, each with its field and remedy."""
    return "; ".join(f"{fault.field or 'it'} {fault.message}" for fault in field_errors(error))
