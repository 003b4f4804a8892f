"""`tamiyo show`, `follow`, `export` and `field-reports` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tamiyo_cli.app import app
from tamiyo_cli.following import followed
from tamiyo_cli.remote import Remote
from tamiyo_cli.sse import events
from typer.testing import CliRunner

from tests.cli.pretenders import Quiet, serving


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


def test_show_tells_how_a_run_stands(told: str) -> None:
    code, output, _ = invoke("show", "grown", "--url", told)
    assert code == 0
    for words in ("grown: ACTIVE", "heuristic 1", "team=vision", "6 WAIT", "s1", "FOSSILIZED"):
        assert words in output, words


def test_show_writes_the_run_as_json(told: str) -> None:
    code, output, _ = invoke("show", "grown", "--url", told, "--json")
    assert code == 0
    view = json.loads(output)
    assert (view["run_id"], view["last_epoch"], view["labels"]) == ("grown", 5, {"team": "vision"})


def test_follow_begins_where_it_is_told_and_ends_after_so_many(told: str) -> None:
    options = ("--type", "decision", "--since-id", "0", "--limit", "3", "--url", told)
    code, output, _ = invoke("follow", "grown", *options, "--json")
    assert code == 0
    lines = [json.loads(line) for line in output.splitlines()]
    assert [(event["type"], event["epoch"]) for event in lines] == [("decision", n) for n in range(3)]
    code, output, _ = invoke("follow", *options)
    assert code == 0
    assert [line.split(": ")[0].split(" ", 1)[1] for line in output.splitlines()] == [
        f"grown epoch {n}" for n in range(3)
    ]


def test_follow_goes_on_after_an_event(told: str) -> None:
    options = ("--type", "decision", "--limit", "2", "--url", told, "--json")
    _, output, _ = invoke("follow", "grown", "--since-id", "0", *options)
    last = json.loads(output.splitlines()[-1])
    _, output, _ = invoke("follow", "grown", "--since-id", last["id"], *options)
    assert [json.loads(line)["epoch"] for line in output.splitlines()] == [2, 3]


def test_follow_refuses_what_the_service_refuses(told: str) -> None:
    code, output, error = invoke("follow", "nobody", "--url", told)
    assert (code, output) == (1, "")
    assert "nobody" in error
    assert len(error.splitlines()) == 1
    code, _, error = invoke("follow", "--type", "weather", "--url", told)
    assert code == 1
    assert "decision" in error


def test_a_label_filters_all_runs_only() -> None:
    code, _, error = invoke("follow", "grown", "--label", "team:vision")
    assert code == 2
    assert "--label" in error


def frames(*, first: int, count: int) -> bytes:
    told = (f'event: note\ndata: {{"n": {n}}}\nid: {n}\n\n' for n in range(first, first + count))
    return b": hello\nretry: 5\n\n" + "".join(told).encode()


@contextmanager
def breaking_service(asked_from: list[str]) -> Iterator[str]:
    """A service whose streams break off after two events; what it was asked to go on from."""

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            last = self.headers.get("last-event-id", "0")
            asked_from.append(last)
            body = frames(first=int(last) + 1, count=2)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            # More is announced than comes: the connection breaks off.
            self.send_header("content-length", str(len(body) + 1))
            self.end_headers()
            self.wfile.write(body)

    with serving(Handler) as url:
        yield url


def test_a_stream_that_breaks_off_is_taken_up_where_it_broke_off() -> None:
    asked_from: list[str] = []
    pauses: list[float] = []
    with breaking_service(asked_from) as url, Remote(url) as remote:
        stream = followed(remote, "/events", {}, pauses.append)
        assert [next(stream).id for _ in range(5)] == ["1", "2", "3", "4", "5"]
        stream.close()
    assert asked_from == ["0", "2", "4"]
    assert pauses == [0.005, 0.005]


def test_ids_that_come_without_an_event_count_too() -> None:
    lines = ["id: 7", ": alive", "", "event: x", "data: a", "data: b", "", "data:c", "id: 8", ""]
    assert [(event.id, event.type, event.data) for event in events(lines, "")] == [
        ("7", "", ""),
        ("7", "x", "a\nb"),
        ("8", "message", "c"),
    ]


@pytest.mark.parametrize("file_format", ["ndjson", "csv", "parquet"])
def test_an_export_is_a_file_with_every_decision(told: str, tmp_path: Path, file_format: str) -> None:
    file = tmp_path / f"decisions.{file_format}"
    options = ("--out", str(file), "--format", file_format, "--url", told, "--json")
    code, output, _ = invoke("export", "grown", *options)
    assert code == 0
    assert json.loads(output) == {"file": str(file), "size_bytes": file.stat().st_size}
    if file_format == "parquet":
        assert file.read_bytes()[:4] == b"PAR1"
    else:
        assert len(file.read_text().splitlines()) == 6 + (file_format == "csv")
    assert list(tmp_path.iterdir()) == [file]


def test_an_export_goes_to_standard_output_and_is_filtered(told: str) -> None:
    code, output, _ = invoke("export", "--since-epoch", "2", "--until-epoch", "3", "--url", told)
    assert code == 0
    assert [json.loads(line)["epoch"] for line in output.splitlines()] == [2, 3]


def test_an_export_replaces_a_file_only_by_force(told: str, tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_text("mine")
    code, _, error = invoke("export", "--out", str(file), "--url", told)
    assert code == 1
    assert error == f"tamiyo export: {file} exists; --force replaces it\n"
    assert file.read_text() == "mine"
    code, output, _ = invoke("export", "--out", str(file), "--force", "--url", told)
    assert (code, output) == (0, f"{file}: {file.stat().st_size} bytes\n")
    assert file.read_text() != "mine"


@pytest.mark.parametrize("place", ["absent/file", "file/file"])
def test_an_export_to_a_place_that_is_none_is_one_line_and_status_1(
    told: str, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    code, output, error = invoke("export", "--out", str(tmp_path / place), "--url", told)
    assert (code, output) == (1, "")
    assert "cannot be written" in error
    assert len(error.splitlines()) == 1


def test_a_refused_export_leaves_no_file(told: str, tmp_path: Path) -> None:
    code, _, error = invoke("export", "--format", "xml", "--out", str(tmp_path / "file"), "--url", told)
    assert code == 1
    assert "parquet" in error
    assert list(tmp_path.iterdir()) == []


def test_field_reports_tell_what_became_of_seeds(told: str) -> None:
    code, output, _ = invoke("field-reports", "grown", "--url", told, "--json")
    assert code == 0
    (report,) = [json.loads(line) for line in output.splitlines()]
    assert (report["seed_id"], report["final_stage"], report["success"]) == ("s1", "FOSSILIZED", True)
    code, output, _ = invoke("field-reports", "grown", "--url", told)
    assert code == 0
    assert "0–5" in output
    assert "improvement" in output
    assert "attributed" in output


@pytest.mark.parametrize("command", ["show", "field-reports", "export", "follow"])
def test_what_is_no_run_id_is_one_line_and_status_1(command: str) -> None:
    code, output, error = invoke(command, "a/b")
    assert (code, output) == (1, "")
    assert "no run id" in error
    assert len(error.splitlines()) == 1


def test_what_is_no_tamiyo_service_is_told() -> None:
    with breaking_service([]) as url:
        code, _, error = invoke("show", "r", "--url", url)
    assert code == 1
    assert len(error.splitlines()) == 1
