"""Query parameters of the lists. Unknown parameters and values are refused."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from tamiyo_leyline import ActionKind, ActionLayout, RiskLevel, RunStatus
from tamiyo_leyline.api import DEFAULT_PAGE, MAX_PAGE
from tamiyo_leyline.fields import MAX_COUNT, MAX_LABELS

from tamiyo_service.auth.caller import Caller
from tamiyo_service.clock import Clock, to_micros
from tamiyo_service.errors import InvalidQueryError
from tamiyo_service.runs.engines import POLICY_NAMES
from tamiyo_service.store.rows import DecisionFilter, Position, RunFilter

_GERMINATION: Final = re.compile(r"GERMINATE_[A-Z0-9_]{1,64}", re.ASCII)
_REPEATABLE: Final = frozenset({"action", "label", "type"})
_MOST_ACTIONS: Final = 70
"""A topology of the most blueprints has fewer."""
_KINDS: Final = tuple(kind.value for kind in ActionKind)
_DATE_AND_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}", re.ASCII)


def _known_policy(name: str) -> str:
    if name not in POLICY_NAMES:
        raise ValueError(f"must be one of {', '.join(POLICY_NAMES)}")
    return name


def _key_and_value(label: str) -> str:
    key, colon, _ = label.partition(":")
    if not key or not colon:
        raise ValueError("must be written key:value")
    return label


def _written_out(moment: object) -> object:
    # pydantic takes a bare number, too, for seconds or milliseconds since 1970, as it pleases.
    if isinstance(moment, str) and _DATE_AND_TIME.match(moment) is None:
        raise ValueError("must be a time with its offset, such as 2026-01-31T12:00:00Z")
    return moment


def _name_policies(schema: dict[str, Any]) -> None:
    schema["enum"] = list(POLICY_NAMES)


_ACTION_PATTERN: Final = f"^({'|'.join(_KINDS)}|GERMINATE_[A-Z0-9_]{{1,64}})$"

PolicyName = Annotated[str, AfterValidator(_known_policy), Field(json_schema_extra=_name_policies)]
Label = Annotated[
    str, AfterValidator(_key_and_value), Field(json_schema_extra={"pattern": r"^[^:]+:[\s\S]*$"})
]
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
ActionName = Annotated[str, Field(json_schema_extra={"pattern": _ACTION_PATTERN})]
"""Checked by `DecisionFilters`, which knows a run's blueprints, and in any case."""


class NoQuery(BaseModel):
    """No parameters at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")


async def _refuse_parameters(_query: Annotated[NoQuery, Query()]) -> None:
    return


NO_PARAMETERS: Final = [Depends(_refuse_parameters)]
"""Dependencies of a route that takes no query parameters."""


async def refuse_repetitions(request: Request) -> None:
    """Return if no parameter is given twice that has one value.

    Raises:
        InvalidQueryError: if one is.
    """
    counts = Counter(name for name, _ in request.query_params.multi_items())
    for name, count in counts.items():
        if count > 1 and name not in _REPEATABLE:
            raise InvalidQueryError(f"{name} may be given once", field=name)


class PageQuery(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="Items on the page.")
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")


class RunQuery(PageQuery):
    """Which runs."""

    label: list[Label] = Field(
        [], max_length=MAX_LABELS, description="`key:value`; repeated: all must match."
    )
    policy: PolicyName | None = Field(None, description="Name of the policy that decides.")
    status: RunStatus | None = Field(None, description="ACTIVE, HELD or COMPLETED.")
    silent_for: float | None = Field(
        None, ge=0, le=1e9, description="Seconds since the last report (or the creation), at least."
    )

    def wanted(self, position: Position | None, clock: Clock, caller: Caller) -> RunFilter:
        """The filter that the store understands, for the caller's own runs."""
        silent_since = None
        if self.silent_for is not None:
            silent_since = to_micros(clock() - timedelta(seconds=self.silent_for))
        labels = tuple((key, value) for key, _, value in (label.partition(":") for label in self.label))
        return RunFilter(labels, self.policy, self.status, silent_since, position, caller.prefixes)


class DecisionFilters(BaseModel):
    """Which decisions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: list[ActionName] = Field(
        [],
        max_length=_MOST_ACTIONS,
        description="WAIT, GERMINATE (any), GERMINATE_<BLUEPRINT>, FOSSILIZE or CULL; repeated: any of them.",
    )
    since_epoch: int | None = Field(None, ge=0, le=MAX_COUNT, description="First epoch.")
    until_epoch: int | None = Field(None, ge=0, le=MAX_COUNT, description="Last epoch.")
    policy: PolicyName | None = Field(None, description="Name of the policy that decided.")
    risk: Literal["GREEN", "YELLOW", "ORANGE", "RED", "CRITICAL"] | None = Field(
        None, description="Highest risk among the decision's commands."
    )
    since: Moment | None = Field(None, description="Decided at or after, ISO 8601 with a time zone.")
    until: Moment | None = Field(None, description="Decided before, ISO 8601 with a time zone.")

    def filtered(
        self,
        position: Position | None,
        run_pk: int | None = None,
        layout: ActionLayout | None = None,
        prefixes: tuple[str, ...] = (),
    ) -> DecisionFilter:
        """The filter that the store understands.

        Args:
            position: where the page before ended.
            run_pk: of one run only.
            layout: the actions of that run.
            prefixes: how the ids of the caller's runs begin.

        Raises:
            InvalidQueryError: if an action is unknown.
        """
        actions = [self._action(name, layout) for name in self.action]
        return DecisionFilter(
            run_pk=run_pk,
            actions=frozenset(name for name in actions if name != ActionKind.GERMINATE),
            germinate=ActionKind.GERMINATE in actions,
            since_epoch=self.since_epoch,
            until_epoch=self.until_epoch,
            policy=self.policy,
            risk=None if self.risk is None else RiskLevel[self.risk],
            since=None if self.since is None else to_micros(self.since),
            until=None if self.until is None else to_micros(self.until),
            after=position,
            prefixes=prefixes,
        )

    def _action(self, name: str, layout: ActionLayout | None) -> str:
        folded = name.upper()
        known = layout.names if layout is not None else ()
        if folded in _KINDS or folded in known:
            return folded
        if layout is None and _GERMINATION.fullmatch(folded):
            return folded
        valid = dict.fromkeys((*_KINDS, *(known or ("GERMINATE_<BLUEPRINT>",))))
        raise InvalidQueryError(f"unknown action {name!a}; valid: {', '.join(valid)}", field="action")


class DecisionQuery(DecisionFilters, PageQuery):
    """Which decisions, and which page of them."""

    order: Literal["desc", "asc"] = Field("desc", description="desc: the newest first.")

    def wanted(
        self,
        position: Position | None,
        run_pk: int | None = None,
        layout: ActionLayout | None = None,
        prefixes: tuple[str, ...] = (),
    ) -> DecisionFilter:
        """The filter and the order that the store understands; see `filtered`."""
        return replace(self.filtered(position, run_pk, layout, prefixes), ascending=self.order == "asc")


class RunDecisionQuery(DecisionQuery):
    """Which decisions of one run."""

    count: bool = Field(False, description="Whether to count the decisions of all pages, by action.")


class AttemptQuery(BaseModel):
    """Which attempt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempt: int | None = Field(
        None, ge=0, le=MAX_COUNT, description="The attempt; absent: the latest that has the epoch."
    )
