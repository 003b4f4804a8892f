"""Where policies that ask a network get its advice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from tamiyo_core import Advice, AskingPolicy, Question

Questions = tuple[Question, ...]
Asked = Sequence[tuple[AskingPolicy | None, Questions]]
"""Of several reports, the policy that asks and its questions: maybe none."""


class Advisor(Protocol):
    """Asks the networks of policies. It never fails: the reason why there is no advice is advice, too."""

    def at_once(self, policy: AskingPolicy, asked: Sequence[Questions]) -> list[Advice] | None:
        """Advice for each report, if the caller need not wait for it; else None."""

    async def advise(self, policy: AskingPolicy, asked: Sequence[Questions]) -> list[Advice]:
        """Advice for each report, within bounded time."""


def advice_at_once(advisor: Advisor, asked: Asked) -> tuple[list[Advice | None], list[list[int]]]:
    """Advice as far as nobody need wait for it.

    Returns:
        Advice for each report, None for those that ask nothing or have to wait; and which have to wait, those
        together that ask the same network.
    """
    advices: list[Advice | None] = [None] * len(asked)
    waiting = []
    for policy, numbers in _by_policy(asked):
        given = advisor.at_once(policy, [asked[number][1] for number in numbers])
        if given is None:
            waiting.append(numbers)
        else:
            _put(advices, numbers, given)
    return advices, waiting


async def advice(advisor: Advisor, asked: Asked) -> list[Advice | None]:
    """Advice for each report, None for those that ask nothing; all networks are asked at the same time."""
    advices: list[Advice | None] = [None] * len(asked)
    groups = _by_policy(asked)
    asking = [advisor.advise(policy, [asked[number][1] for number in numbers]) for policy, numbers in groups]
    # Of one network nobody need be told when it is done.
    given = [await asking[0]] if len(asking) == 1 else await asyncio.gather(*asking)
    for (_, numbers), advised in zip(groups, given, strict=True):
        _put(advices, numbers, advised)
    return advices


def _by_policy(asked: Asked) -> Sequence[tuple[AskingPolicy, list[int]]]:
    """Which reports ask which network, whatever else their runs are set to."""
    groups: dict[str, tuple[AskingPolicy, list[int]]] = {}
    for number, (policy, questions) in enumerate(asked):
        if questions and policy is not None:
            groups.setdefault(policy.sha256, (policy, []))[1].append(number)
    return list(groups.values())


def _put(advices: list[Advice | None], numbers: Sequence[int], given: Iterable[Advice]) -> None:
    for number, one in zip(numbers, given, strict=True):
        advices[number] = one
