"""``tamiyo demo``: the whole path on real trainings."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from tamiyo_client import Decision, TamiyoClient
from tamiyo_garden import TASKS, GardenTrainer, Task
from tamiyo_leyline import AdaptationCommand, CommandType, PolicyChoice

from tamiyo_cli.history import count_lines
from tamiyo_cli.local_service import ServiceNotStartedError, local_service
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
    database: str
    run_id: str


def run_demo(
    *,
    datasets: Sequence[str],
    seed: int,
    database: Path | None,
    json_file: Path | None,
    policy: str = "heuristic",
) -> list[DemoResult]:
    """Train a static and a growing network on each data set and tell what came of it.

    Args:
        datasets: names of garden tasks; none: all of them.
        seed: of weights, batches and data split; static and growing training share it.
        database: a file that does not exist yet; None: one named after the time.
        json_file: where the results go as a JSON list; None: nowhere.
        policy: decides for the growing networks: heuristic or learned.

    Raises:
        typer.BadParameter: if a data set is unknown, the database exists or cannot be made.
        typer.Exit: with status 1, after saying why, if the service does not start.
    """
    names = _checked(datasets)
    path = _fresh(database)
    # Networks this small lose more to handing work between threads than they gain.
    torch.set_num_threads(1)
    console = Console()
    console.print(f"History goes to [bold]{path}[/]; training {', '.join(names)}; {policy} decides.")
    try:
        with local_service(path) as base_url, _progress(console) as progress:
            results = [_Training(TASKS[name], seed, policy, base_url, path, progress).run() for name in names]
    except ServiceNotStartedError as error:
        typer.echo(f"tamiyo demo: {error}", err=True)
        raise typer.Exit(1) from error
    console.print(_table(results))
    console.print(_directions(results), highlight=False, soft_wrap=True)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    return results


class _Training:
    """One data set: the static network first, then the growing one."""

    def __init__(
        self, task: Task, seed: int, policy: str, base_url: str, database: Path, progress: Progress
    ) -> None:
        self._task = task
        self._seed = seed
        self._policy = policy
        self._base_url = base_url
        self._database = database
        self._progress = progress

    def run(self) -> DemoResult:
        static = self._train_static()
        grown = GardenTrainer(self._task.garden, seed=self._seed)
        run_id = f"demo-{self._task.garden.dataset}-{self._seed}"
        counts = self._train_growing(grown, run_id)
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
            database=str(self._database),
            run_id=run_id,
        )

    def _train_static(self) -> GardenTrainer:
        trainer = GardenTrainer(self._task.garden, seed=self._seed)
        bar = self._bar("static")
        for _ in range(self._task.garden.max_epochs):
            report = trainer.train_epoch()
            self._advance(bar, report.val_accuracy)
        return trainer

    def _train_growing(self, trainer: GardenTrainer, run_id: str) -> dict[str, int]:
        """Train, ask every epoch, obey; the run's decisions by action, as the service counts them."""
        bar = self._bar("growing")
        client = TamiyoClient(self._base_url, deadline=_DEADLINE_SECONDS)
        config = self._task.run_config(trainer.host_parameters).model_copy(
            update={"policy": PolicyChoice(name=self._policy)}
        )
        with client, client.run(run_id, config=config) as run:
            for _ in range(self._task.garden.max_epochs):
                report = trainer.train_epoch()
                decision = run.report(report)
                self._tell(decision)
                for command in decision.commands:
                    trainer.apply(command)
                self._advance(bar, report.val_accuracy)
            return dict(client.get_run(run_id).counts)

    def _bar(self, kind: str) -> TaskID:
        return self._progress.add_task(
            f"{self._task.garden.dataset} {kind}", total=self._task.garden.max_epochs, accuracy="–"
        )

    def _advance(self, bar: TaskID, accuracy: float | None) -> None:
        self._progress.update(bar, advance=1, accuracy="–" if accuracy is None else f"{accuracy:.1f} %")

    def _tell(self, decision: Decision) -> None:
        if decision.source == "client":
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


def _directions(results: Sequence[DemoResult]) -> str:
    first = results[0]
    called = Path(sys.argv[0])
    tamiyo = str(called) if called.name == "tamiyo" else "tamiyo"
    return (
        "Every decision is kept, with what it was made from. To look at them:\n"
        f"  {tamiyo} serve --database-url sqlite:///{first.database} &\n"
        f"  {tamiyo} decisions {first.run_id} --action GERMINATE --action FOSSILIZE --action CULL\n"
        f"  {tamiyo} why {first.run_id} {first.epochs}\n"
        "  http://127.0.0.1:8000/docs"
    )
