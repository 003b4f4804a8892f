"""``tamiyo demo``: the whole path on real trainings."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from tamiyo_client import Decision, TamiyoClient, TamiyoError
from tamiyo_garden import TASKS, GardenTrainer, Task
from tamiyo_leyline import AdaptationCommand, CommandOutcome, CommandType, PolicyChoice

from tamiyo_cli.history import count_lines
from tamiyo_cli.local_service import ServiceNotStartedError, await_service, local_service
from tamiyo_cli.results_file import require_writable, write_results
from tamiyo_cli.terminal import plain

_DEADLINE_SECONDS = 5.0


@dataclass(frozen=True)
class DemoResult:
    """What one data set showed. Accuracies are percent of the test set, which no decision has seen."""

    dataset: str
    policy: str
    epochs: int
    decisions: int
    actions: dict[str, int]
    static_accuracy: float
    grown_accuracy: float
    host_parameters: int
    added_parameters: int
    database: str | None
    run_id: str
    unanswered: int


def run_demo(
    *,
    datasets: Sequence[str],
    seed: int,
    database: Path | None,
    json_file: Path | None,
    policy: str = "heuristic",
    url: str | None = None,
    name: str | None = None,
) -> list[DemoResult]:
    """Train a static and a growing network on each data set and tell what came of it.

    Args:
        datasets: names of garden tasks; none: all of them.
        seed: of weights, batches and data split; static and growing training share it.
        database: a file that does not exist yet; None: one named after the time.
        json_file: where the results go as a JSON list; None: nowhere.
        policy: decides for the growing networks: heuristic or learned.
        url: of a service to ask; None: one of its own, on `database`.
        name: the runs are called NAME-DATASET-SEED; None: demo, with the time where a service is asked that
            may know earlier ones.

    Raises:
        typer.BadParameter: if a data set is unknown, the database exists or cannot be made, or a service and
            a database are named.
        typer.Exit: with status 1, after saying why, if the service does not start or is not ready, or the
            results cannot be written.
    """
    names = _checked(datasets)
    if url is not None and database is not None:
        raise typer.BadParameter(_two_places(url))
    require_writable("demo", json_file)
    path = None if url is not None else _fresh(database)
    prefix = name or ("demo" if url is None else time.strftime("demo-%Y%m%d-%H%M%S"))
    # Networks this small lose more to handing work between threads than they gain.
    torch.set_num_threads(1)
    console = Console()
    console.print(plain(f"History goes to {path or url}; training {', '.join(names)}; {policy} decides."))
    try:
        with _service(url, path) as base_url, _progress(console) as progress:
            results = [
                _Training(TASKS[task], f"{prefix}-{task}-{seed}", seed, policy, base_url, progress).run(path)
                for task in names
            ]
    except (ServiceNotStartedError, TamiyoError) as error:
        typer.echo(f"tamiyo demo: {error}", err=True)
        raise typer.Exit(1) from error
    console.print(_table(results))
    console.print(_directions(results, url), highlight=False, soft_wrap=True, markup=False)
    write_results("demo", json_file, [asdict(result) for result in results])
    return results


@contextmanager
def _service(url: str | None, database: Path | None) -> Iterator[str]:
    """The service that answers at `url`, or one of our own."""
    if url is not None:
        await_service(url)
        yield url
    else:
        assert database is not None
        with local_service(database) as base_url:
            yield base_url


class _Training:
    """One data set: the static network first, then the growing one."""

    def __init__(
        self, task: Task, run_id: str, seed: int, policy: str, base_url: str, progress: Progress
    ) -> None:
        self._task = task
        self._run_id = run_id
        self._seed = seed
        self._policy = policy
        self._base_url = base_url
        self._progress = progress
        self._unanswered = 0

    def run(self, database: Path | None) -> DemoResult:
        static = self._train_static()
        grown = GardenTrainer(self._task.garden, seed=self._seed)
        counts = self._train_growing(grown)
        return DemoResult(
            dataset=self._task.garden.dataset,
            policy=self._policy,
            epochs=self._task.garden.max_epochs,
            decisions=sum(counts.values()),
            actions=counts,
            static_accuracy=round(static.evaluate_test().accuracy, 2),
            grown_accuracy=round(grown.evaluate_test().accuracy, 2),
            host_parameters=grown.host_parameters,
            added_parameters=grown.added_parameters,
            database=None if database is None else str(database),
            run_id=self._run_id,
            unanswered=self._unanswered,
        )

    def _train_static(self) -> GardenTrainer:
        trainer = GardenTrainer(self._task.garden, seed=self._seed)
        bar = self._bar("static")
        for _ in range(self._task.garden.max_epochs):
            report = trainer.train_epoch()
            self._advance(bar, report.val_accuracy)
        return trainer

    def _train_growing(self, trainer: GardenTrainer) -> dict[str, int]:
        """Train, ask every epoch, obey; the run's decisions by action, as the service counts them."""
        bar = self._bar("growing")
        client = TamiyoClient(self._base_url, deadline=_DEADLINE_SECONDS)
        config = self._task.run_config(trainer.host_parameters).model_copy(
            update={"policy": PolicyChoice(name=self._policy)}
        )
        with client, client.run(self._run_id, config=config) as run:
            told: list[CommandOutcome] = []
            for _ in range(self._task.garden.max_epochs):
                report = trainer.train_epoch()
                decision = run.report(report)
                self._tell(decision)
                told = [trainer.apply(command) for command in decision.commands]
                self._advance(bar, report.val_accuracy)
            # No report follows that could tell what became of the last commands.
            for outcome in told:
                run.outcome(outcome.command_id, outcome.status, outcome.detail)
            return dict(client.get_run(self._run_id).counts)

    def _bar(self, kind: str) -> TaskID:
        return self._progress.add_task(
            f"{self._task.garden.dataset} {kind}", total=self._task.garden.max_epochs, accuracy="–"
        )

    def _advance(self, bar: TaskID, accuracy: float | None) -> None:
        self._progress.update(bar, advance=1, accuracy="–" if accuracy is None else f"{accuracy:.1f} %")

    def _tell(self, decision: Decision) -> None:
        if decision.source == "client":
            self._unanswered += 1
            message = plain(f"  epoch {decision.epoch:3d}  no answer: {decision.reason}")
            self._progress.console.print(message, style="red", soft_wrap=True)
        for command in decision.commands:
            if command.command_type is not CommandType.REQUEST_STATE:
                self._progress.console.print(_line(decision.epoch, command), soft_wrap=True)


def _line(epoch: int, command: AdaptationCommand) -> Text:
    target = command.blueprint_id or command.target_seed_id
    verb = _VERBS.get(command.command_type, command.command_type)
    return plain(f"  epoch {epoch:3d}  {verb} {target}: {command.reason}")


_VERBS = {
    CommandType.GERMINATE: "germinate",
    CommandType.ADVANCE_STAGE: "fossilize",
    CommandType.CULL: "cull",
}


def _checked(datasets: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in datasets if name not in TASKS]
    if unknown:
        raise typer.BadParameter(f"unknown data set {', '.join(unknown)}; valid: {', '.join(TASKS)}")
    return tuple(dict.fromkeys(datasets)) or tuple(TASKS)


def _fresh(database: Path | None) -> Path:
    path = database or Path(time.strftime("tamiyo-demo-%Y%m%d-%H%M%S.db"))
    if path.exists():
        raise typer.BadParameter(f"{path} exists; name a new file, the demo starts with an empty history")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"{path.parent} is not a directory; make it first")
    return path


def _two_places(url: str) -> str:
    """That a service and a database were named, and which of them may be left out."""
    named = os.environ.get("TAMIYO_URL") == url
    remedy = "unset TAMIYO_URL" if named else "leave out --url"
    return f"the service at {url} has a database already: leave out --database, or {remedy}"


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:18}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("validation {task.fields[accuracy]}"),
        TimeElapsedColumn(),
        console=console,
    )


def _table(results: Sequence[DemoResult]) -> Table:
    table = Table(title="Accuracy on the test set, percent; parameters of the host and added to it")
    for column in ("data set", "static", "grown", "gain", "host", "added"):
        table.add_column(column, justify="left" if column == "data set" else "right")
    table.add_column("decisions by action", no_wrap=True)
    for result in results:
        gain = result.grown_accuracy - result.static_accuracy
        table.add_row(
            result.dataset,
            f"{result.static_accuracy:.2f}",
            f"{result.grown_accuracy:.2f}",
            f"{gain:+.2f}",
            str(result.host_parameters),
            str(result.added_parameters),
            count_lines(result.actions),
        )
    return table


def _directions(results: Sequence[DemoResult], url: str | None) -> str:
    first = results[0]
    called = Path(sys.argv[0])
    tamiyo = str(called) if called.name == "tamiyo" else "tamiyo"
    where = "" if url is None else f" --url {url}"
    base = (url or "http://127.0.0.1:8000").rstrip("/")
    lines = ["Every decision is kept, with what it was made from. To look at them:"]
    if url is None:
        lines.append(f"  {tamiyo} serve --database-url sqlite:///{first.database} &")
    lines += [
        f"  {base}/   (the page)",
        f"  {tamiyo} decisions {first.run_id}{where} --action GERMINATE --action FOSSILIZE --action CULL",
        f"  {tamiyo} why {first.run_id} {first.epochs}{where}",
    ]
    return "\n".join([*lines, f"  {base}/docs   (the HTTP interface)"])
