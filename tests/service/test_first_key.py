"""A service without keys says how to make one where it looks for them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tamiyo_service import Settings
from tamiyo_service.auth.first_key import first_key
from tamiyo_service.testing import open_app


async def test_the_warning_names_the_database_in_its_command(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tamiyo.db'}"
    with capture_logs() as logs:
        async with open_app(Settings(auth="required", database_url=url)):
            pass
    (entry,) = [one for one in logs if one["event"] == "no_keys"]
    assert f"tamiyo keys create --name NAME --scope admin --database-url {url}" in entry["remedy"]


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("sqlite:///tamiyo.db", f"sqlite:///{Path('tamiyo.db').absolute()}"),
        ("sqlite:////var/lib/tamiyo/a b.db", "sqlite:////var/lib/tamiyo/a b.db"),
        ("postgresql://tamiyo:secret@db/tamiyo", "postgresql://tamiyo:***@db/tamiyo"),
    ],
)
def test_the_command_works_from_any_folder_and_has_no_password(url: str, named: str) -> None:
    assert shlex.split(first_key(url))[-2:] == ["--database-url", named]
