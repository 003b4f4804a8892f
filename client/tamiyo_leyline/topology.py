"""Topologies (named lists of blueprints) and the action layout and masks that follow from them."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Annotated, Final, NamedTuple

from pydantic import FailFast, Field, model_validator
from pydantic_core import PydanticCustomError

from tamiyo_leyline.constraints import fault, repeated
from tamiyo_leyline.enums import ActionKind, SeedStage
from tamiyo_leyline.fields import BlueprintName, Count, Request


class Blueprint(Request):
    """A kind of seed a trainer can build."""

    name: BlueprintName = Field(description="Name of the blueprint, folded to lower case.")
    parameters: Count = Field(description="Estimated number of parameters the seed adds.")


class Topology(Request):
    """A named list of blueprints, in the order of the action layout."""

    name: BlueprintName = Field(description="Name of the topology, folded to lower case.")
    blueprints: Annotated[
        tuple[Blueprint, ...], FailFast(), Field(min_length=1, max_length=64, strict=False)
    ] = Field(description="The blueprints a run may germinate, in action order.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Topology:
        if duplicates := repeated(self.names):
            raise fault("duplicate", "blueprints", f"repeat the name {duplicates}, which must be unique")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The blueprints' names, in action order."""
        return tuple(blueprint.name for blueprint in self.blueprints)

    @property
    def layout(self) -> ActionLayout:
        """The action layout of this topology."""
        return action_layout(self.names)


class Action(NamedTuple):
    """One entry of an action layout."""

    number: int
    name: str
    kind: ActionKind
    blueprint_id: str | None


class ActionLayout:
    """The actions of a topology: ``0 WAIT, 1..N GERMINATE_<BLUEPRINT>, N+1 FOSSILIZE, N+2 CULL``.

    Args:
        blueprints: N unique blueprint names in action order.
    """

    def __init__(self, blueprints: tuple[str, ...]) -> None:
        germinations = [("GERMINATE_" + name.upper(), ActionKind.GERMINATE, name) for name in blueprints]
        rows: list[tuple[str, ActionKind, str | None]] = [
            ("WAIT", ActionKind.WAIT, None),
            *germinations,
            ("FOSSILIZE", ActionKind.FOSSILIZE, None),
            ("CULL", ActionKind.CULL, None),
        ]
        self.actions: Final = tuple(Action(number, *row) for number, row in enumerate(rows))
        self.blueprints: Final = blueprints
        self.wait: Final = self.actions[0]
        self.fossilize: Final = self.actions[-2]
        self.cull: Final = self.actions[-1]
        self._masks: dict[tuple[SeedStage | None, bool], tuple[bool, ...]] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all actions, in order."""
        return tuple(action.name for action in self.actions)

    def germinate(self, blueprint_id: str) -> Action:
        """The action that germinates `blueprint_id`.

        Raises:
            ValueError: if the topology has no such blueprint.
        """
        return self.actions[1 + self.blueprints.index(blueprint_id)]

    def named(self, name: str) -> Action:
        """The action called `name`.

        Raises:
            ValueError: if the layout has none; the message lists the valid names.
        """
        if name not in self.names:
            raise ValueError(f"unknown action {name!r}; valid: {', '.join(self.names)}")
        return self.actions[self.names.index(name)]

    def mask(self, stage: SeedStage | None, *, germination_open: bool = False) -> tuple[bool, ...]:
        """Which actions are legal for one slot.

        Args:
            stage: stage of the slot's seed; None for an empty slot. A seed that is not live does not
                occupy the slot for a policy.
            germination_open: whether a slot is free and the run is not held, embargoed, diverged, waiting
                for a germination or at its limit of live seeds. A slot with a live seed cannot germinate.

        Returns:
            One flag per action, WAIT always legal.
        """
        known = self._masks.get((stage, germination_open))
        if known is None:
            live = stage is not None and stage.is_live
            germinate = (germination_open and not live,) * len(self.blueprints)
            known = (True, *germinate, stage is SeedStage.PROBATIONARY, live)
            self._masks[stage, germination_open] = known
        return known


@lru_cache(maxsize=256)
def action_layout(blueprints: tuple[str, ...]) -> ActionLayout:
    """The layout for these blueprints (one shared instance for each list)."""
    return ActionLayout(blueprints)


def _topology(name: str, **parameters: int) -> Topology:
    # Constants need no validation, and without it importing them builds no validators.
    blueprints = (Blueprint.model_construct(name=key, parameters=value) for key, value in parameters.items())
    return Topology.model_construct(name=name, blueprints=tuple(blueprints))


TOPOLOGIES: Final[dict[str, Topology]] = {
    "cnn": _topology("cnn", norm=100, attention=2_000, depthwise=4_800, conv_enhance=74_000),
    "transformer": _topology("transformer", norm=800, lora=6_000, attention=50_000, mlp=1_200_000),
}
"""The built-in topologies, by name."""


def topology_named(name: str) -> Topology:
    """The built-in topology called `name`, whatever its case.

    Raises:
        PydanticCustomError: type ``unknown_topology``, listing the built-in names.
    """
    topology = TOPOLOGIES.get(name.lower())
    if topology is None:
        raise PydanticCustomError(
            "unknown_topology",
            "must be one of {valid}, or an object with a name and your own list of blueprints",
            {"valid": ", ".join(TOPOLOGIES)},
        )
    return topology
