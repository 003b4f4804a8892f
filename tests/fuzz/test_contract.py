"""Whatever is sent, the service keeps its contract: no defect, no answer that is not announced."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.attack import attack
from tests.fuzz.target import target

EXAMPLES = 15
"""Of every operation, and sequences of them; `make fuzz` goes through the bounds of the schemas, too."""
QUICK = ["--phases", "fuzzing,stateful", "--generation-deterministic"]


def test_the_service_keeps_its_contract_whatever_it_is_sent(tmp_path: Path) -> None:
    with target(tmp_path) as attacked:
        outcome = attack(attacked, tmp_path, examples=EXAMPLES, options=QUICK)
    assert outcome.failures == 0, outcome.told
    assert outcome.cases > 400
