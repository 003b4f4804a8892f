"""Dashboard, alert rules and compose file ask only for what there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from tamiyo_service.observability import families
from tamiyo_service.observability.families import Family

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker" / "observability"
DASHBOARD = FOLDER / "grafana" / "dashboards" / "tamiyo.json"
OF_PROMETHEUS = {"up", "ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes"}
HISTOGRAM_PARTS = ("_bucket", "_sum", "_count")
OF_A_TARGET = {"instance", "job", "le"}


def known() -> dict[str, set[str]]:
    """The labels of every series there is, by name; a histogram's three series are named in full."""
    there: dict[str, set[str]] = {}
    for family in vars(families).values():
        if isinstance(family, Family):
            parts = HISTOGRAM_PARTS if family.is_histogram else ("",)
            there |= {family.name + part: {*family.labels, *OF_A_TARGET} for part in parts}
    return there


def selectors(expression: str) -> Iterator[promql_parser.VectorSelector]:
    """Every selector of a query."""
    waiting = [promql_parser.parse(expression)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, promql_parser.VectorSelector):
            yield node
        waiting += parts_of(node)


def parts_of(node: Any) -> list[Any]:
    """The queries a query is made of."""
    if isinstance(node, promql_parser.MatrixSelector):
        return [node.vector_selector]
    if isinstance(node, promql_parser.BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, promql_parser.Call):
        return list(node.args)
    if isinstance(node, promql_parser.AggregateExpr | promql_parser.ParenExpr | promql_parser.SubqueryExpr):
        return [node.expr]
    return []


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def queries() -> list[tuple[str, str]]:
    """Every query, by where it stands; Grafana's variables are filled in as it does."""
    told = [(rule["alert"], rule["expr"]) for rule in rules()]
    told += [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    return [(name, filled_in(text)) for name, text in told]


def filled_in(text: str) -> str:
    """A query as Grafana asks it."""
    return re.sub(r"\$__(rate_)?interval", "1m", text).replace("$instance", ".*")


def asked_for(text: str) -> set[str | None]:
    """The names of the series that a query asks for."""
    return {selector.name for selector in selectors(filled_in(text))}


@pytest.mark.parametrize(("place", "query"), queries())
def test_a_query_asks_for_series_and_labels_that_exist(place: str, query: str) -> None:
    there = known()
    found = list(selectors(query))
    assert found or "vector" in query, place
    for selector in found:
        name = selector.name
        assert name in there or name in OF_PROMETHEUS, (place, name)
        asked = {matcher.name for matcher in selector.matchers.matchers} - {"__name__"}
        assert asked <= there.get(name, {*OF_A_TARGET}), (place, name, asked)


@pytest.mark.parametrize("query", ["tamiyo_gone_total", 'rate(tamiyo_decisions_total{colour="red"}[5m]) > 0'])
def test_a_query_for_what_is_not_there_is_noticed(query: str) -> None:
    with pytest.raises(AssertionError):
        test_a_query_asks_for_series_and_labels_that_exist("made up", query)


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "warn"}, rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["description"], rule["alert"]


def test_every_alert_is_documented() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(Tamiyo\w+)` \|", text, re.MULTILINE)
    assert told == [rule["alert"] for rule in rules()]


def test_what_is_alerted_of_is_on_the_dashboard() -> None:
    drawn = {name for panel in panels() for target in panel["targets"] for name in asked_for(target["expr"])}
    alerted = {name for rule in rules() for name in asked_for(rule["expr"])}
    assert alerted - OF_PROMETHEUS <= drawn


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    found = panels()
    assert len({panel["id"] for panel in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for panel in found:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_panel_says_what_it_shows_and_asks_the_provisioned_source() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana/datasources/prometheus.yml").read_text())["datasources"]
    for panel in panels():
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == source["uid"]


def test_compose_mounts_what_there_is_and_publishes_on_loopback_only() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    watching = [one for one in services.values() if "observability" in one.get("profiles", ())]
    assert len(watching) == 2
    for one in watching:
        assert re.search(r":v?\d+\.\d+\.\d+$", one["image"]), "pinned by version"
        assert all(port.startswith("127.0.0.1:") for port in one["ports"])
        files = [volume.split(":")[0] for volume in one["volumes"] if volume.startswith("./")]
        assert files
        assert all((ROOT / file).exists() for file in files)


def test_prometheus_reads_the_rules_and_finds_the_services() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    mounted = {volume.split(":")[1] for volume in compose["prometheus"]["volumes"]}
    assert set(config["rule_files"]) <= mounted
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "tamiyo")
    names = {name for source in job["dns_sd_configs"] for name in source["names"]}
    assert names <= set(compose)
