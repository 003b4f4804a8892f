"""The trainer in docs/client.md: it runs as it stands, grows, and tells what became of every command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
from tamiyo_client import TamiyoClient
from tamiyo_leyline import AdaptationCommand, CommandStatus, CommandType, SeedStage
from tamiyo_leyline.report import SeedMetrics, SeedStateReport, SeedTelemetry
from tamiyo_service import Settings
from tamiyo_service.testing import running_service

PAGE: Final = Path(__file__).parents[2] / "docs" / "client.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def program(page: str) -> dict[str, Any]:
    """What the program under "A whole trainer" defines."""
    found = re.search(r"^## A whole trainer$.*?^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    defined: dict[str, Any] = {"__name__": "documented_trainer"}
    exec(compile(found[1], str(PAGE), "exec"), defined)
    return defined


def section(page: str, title: str) -> str:
    """A section of the page."""
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_trainer_germinates_keeps_and_culls_and_tells_it(program: dict[str, Any]) -> None:
    with running_service(Settings(auto_create=False)) as url, TamiyoClient(url, deadline=30.0) as client:
        program["train"](client, "pretended-1")
        counts = client.get_run("pretended-1").counts
        acting = ("GERMINATE", "FOSSILIZE", "CULL")
        decisions = [one for action in acting for one in client.decisions("pretended-1", action=action)]
    assert {"GERMINATE_NORM", "FOSSILIZE", "CULL"} <= set(counts)
    told = [outcome.status for decision in decisions for outcome in decision.outcomes]
    assert len(decisions) == sum(count for action, count in counts.items() if action != "WAIT")
    assert told == [CommandStatus.EXECUTED] * len(decisions)


def test_the_trainer_refuses_what_it_cannot_do(program: dict[str, Any]) -> None:
    trainer = program["Trainer"]()
    germinate = _command(CommandType.GERMINATE, blueprint_id="norm")
    for _ in program["SLOTS"]:
        trainer.obey(germinate)
    cull = _command(CommandType.CULL, target_seed_id="seed-1", expected_stage=SeedStage.BLENDING)
    for command in (germinate, cull, _command(CommandType.PAUSE_SEED)):
        with pytest.raises(program["RefusedError"]):
            trainer.obey(command)


def _command(command_type: CommandType, **fields: Any) -> Any:
    known = {"command_id": "c", "issued_at": "2026-01-31T12:00:00Z", "reason": "why", "confidence": 1.0}
    given = known | {"command_type": command_type, "risk_level": "GREEN", "expires_after_epoch": 1}
    return AdaptationCommand.model_validate(given | fields)


def test_every_command_and_status_is_explained(page: str) -> None:
    told = section(page, "What commands say")
    names = (*CommandType, *(status for status in CommandStatus if status is not CommandStatus.ISSUED))
    assert [name for name in names if f"`{name}`" not in told] == []


def test_every_field_and_stage_of_a_seed_is_explained(page: str) -> None:
    told = section(page, "What a seed is")
    stages = [stage.name for stage in SeedStage if stage not in (SeedStage.UNKNOWN, SeedStage.DORMANT)]
    fields = [name for schema in (SeedStateReport, SeedTelemetry) for name in schema.model_fields]
    named = set(re.findall(r"`(\w+)`", told))
    assert [name for name in (*stages, *fields, *SeedMetrics.model_fields) if name not in named] == []


def test_readme_names_what_travels() -> None:
    readme = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    travelling = (
        CommandType.GERMINATE,
        CommandType.ADVANCE_STAGE,
        CommandType.CULL,
        CommandType.REQUEST_STATE,
    )
    assert [name for name in travelling if f"`{name}`" not in readme] == []
    assert "docs/client.md#a-whole-trainer" in readme
