"""Shapes of what is told of models and policies."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field
from tamiyo_leyline.fields import Answer, OrderReason, Request, Timestamp


class ModelState(StrEnum):
    """What a model is to new runs, and to this process."""

    ACTIVE = "active"
    LOADED = "loaded"
    AVAILABLE = "available"
    REFUSED = "refused"


class ActivationRequest(Request):
    """Which reason a model is activated for."""

    reason: OrderReason = Field(description="Why; kept with the activation.")


class ActivationView(Answer):
    """Since when, and why, new runs of a topology use a model."""

    topology: str = Field(description="The topology.")
    model: str = Field(description="Name and version of the model, as policy.version names it.")
    sha256: str = Field(description="SHA-256 of its artifact.")
    at: Timestamp = Field(description="When it was activated, UTC.")
    reason: str = Field(description="Why.")
    previous: str | None = Field(description="What was active before; null: nothing was.")


class ModelView(Answer):
    """A model's artifact."""

    name: str = Field(description="Name of the model.")
    version: str = Field(description="Its version.")
    policy_version: str = Field(description="What a run names as policy.version to pin it.")
    state: ModelState = Field(
        description="active: new runs of its topology use it. loaded: it answers in this process. available: "
        "it would be loaded when it is needed. refused: it cannot be used."
    )
    reason: str | None = Field(description="Why it is refused, and what to do; null: it is not.")
    loaded_on: str | None = Field(description="Device it runs on in this process; null: it is not loaded.")
    shipped: bool = Field(description="Whether it came with Tamiyo.")
    topology: str | None = Field(description="The topology it was made for; null: unknown.")
    blueprints: tuple[str, ...] = Field(description="Of that topology, in the order of its actions.")
    observation: str | None = Field(description="The features it reads; null: unknown.")
    sha256: str | None = Field(description="SHA-256 of its manifest, which names its files; null: unknown.")
    about: dict[str, Any] = Field(description="Description, formats, training, metrics of its manifest.")
    activation: ActivationView | None = Field(description="If it was activated by somebody: the last time.")


class PolicyView(Answer):
    """A policy that a run may choose."""

    name: str = Field(description="What a run names as policy.name.")
    origin: str = Field(description="tamiyo, or installed: another distribution brings it.")
    default: bool = Field(description="Whether it decides for runs that name none.")
    versions: tuple[str, ...] = Field(description="What a run may name as policy.version, the latest first.")
    active: dict[str, str] = Field(
        description="Version that a run gets which names none, by topology; * stands for every topology."
    )
    fault: str | None = Field(description="Why it cannot be used; null: it can.")
