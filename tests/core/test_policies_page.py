"""The page on writing policies: its example is a policy that conforms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tamiyo_core import Policy
from tamiyo_core.conformance import PolicyConformance
from tamiyo_core.rehearsal import Rehearsal
from tamiyo_leyline import RunConfig

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"


def example() -> dict[str, Any]:
    """The names that the page's first block of Python defines."""
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    exec(compile(block[1], str(PAGE), "exec"), names)
    return names


class TestThePagesPolicyConforms(PolicyConformance):
    """As the page says it does."""

    def make_policy(self, config: RunConfig) -> Policy:
        policy: Policy = example()["PatientPolicy"](config)
        return policy


def test_the_pages_policy_germinates_after_ten_reports() -> None:
    run = Rehearsal({"tracker": {"plateau_smoothing": 0.0}}, policy=example()["PatientPolicy"](RunConfig()))
    actions = [run.report(epoch, val_accuracy=50.0).action for epoch in range(11)]
    assert actions == ["WAIT"] * 10 + ["GERMINATE_NORM"]
