"""Where policies that ask a network get its advice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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


def advice_at_once(advisor: Advisor, asked: Asked) -> list[Advice | None] | None:
    """Advice for each report, None for those that ask nothing; None at all: it has to be waited for."""
    advices: list[Advice | None] = [None] * len(asked)
    for policy, numbers in _by_policy(asked):
        given = advisor.at_once(policy, [asked[number][1] for number in numbers])
        if given is None:
            return None
        _put(advices, numbers, given)
    return advices


async def advice(advisor: Advisor, asked: Asked) -> list[Advice | None]:
    """Advice for each report, None for those that ask nothing."""
    advices: list[Advice | None] = [None] * len(asked)
    for policy, numbers in _by_policy(asked):
        _put(advices, numbers, await advisor.advise(policy, [asked[number][1] for number in numbers]))
    return advices


def _by_policy(asked: Asked) -> Iterator[tuple[AskingPolicy, list[int]]]:
    """Which reports ask which network, whatever else their runs are set to."""
    groups: dict[str, tuple[AskingPolicy, list[int]]] = {}
    for number, (policy, questions) in enumerate(asked):
        if questions and policy is not None:
            groups.setdefault(policy.sha256, (policy, []))[1].append(number)
    yield from groups.values()


def _put(advices: list[Advice | None], numbers: Sequence[int], given: Iterable[Advice]) -> None:
    for number, one in zip(numbers, given, strict=True):
        advices[number] = one
