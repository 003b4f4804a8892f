"""Whatever is sent, the service keeps its contract: no defect, no answer that is not announced."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.attack import attack
from tests.fuzz.target import target

EXAMPLES = 5
"""With the schemas' bounds that is some 3 000 requests; `make fuzz` sends 10 000 and more."""


def test_the_service_keeps_its_contract_whatever_it_is_sent(tmp_path: Path) -> None:
    with target(tmp_path) as url:
        outcome = attack(url, tmp_path, examples=EXAMPLES, options=["--generation-deterministic"])
    assert outcome.failures == 0, outcome.told
    assert outcome.cases > 1000
