"""``tamiyo models``: artifacts of learned policies made, looked at, and tried."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamiyo_cli.results_file import require_writable
from tamiyo_cli.terminal import harmless, plain

if TYPE_CHECKING:
    from rich.console import Console
    from tamiyo_models import ArtifactError, Manifest


def _plain_name(value: str | None) -> str | None:
    """A name or a version that an artifact may have."""
    from pydantic import TypeAdapter, ValidationError
    from tamiyo_models.manifest import Name

    try:
        return None if value is None else TypeAdapter(Name).validate_python(value)
    except ValidationError as error:
        raise typer.BadParameter(
            f"{value!r} is none; use 1 to 63 of a-z, 0-9, '.', '_' and '-', a letter or a digit first"
        ) from error


app = typer.Typer(
    name="models", help="Make, look at and try the artifacts of learned policies.", no_args_is_help=True
)

Artifact = Annotated[
    Path,
    typer.Argument(help="Directory of an artifact, or NAME/VERSION or NAME-VERSION of a known one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, one object a line.")]
Models = Annotated[
    Path, typer.Option("--out", help="Models directory; the artifact goes to NAME/VERSION in it.")
]
Replace = Annotated[bool, typer.Option("--force", help="Replace what is there of that name and version.")]


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A training's checkpoint, a safetensors file.")],
    out: Models,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the artifact  \\[default: the training's]", callback=_plain_name),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="Version of the artifact  \\[default: the training's]", callback=_plain_name),
    ] = None,
    force: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Make an artifact of a checkpoint: TorchScript and ONNX, manifest, self-test."""
    from tamiyo_models import ArtifactError
    from tamiyo_models.checkpoint import load_checkpoint
    from tamiyo_models.export import export_network

    from tamiyo_cli.artifact_names import require_free

    try:
        network, subject = load_checkpoint(checkpoint)
        called = {"name": name or subject.name, "version": version or subject.version}
        subject = subject.model_copy(update=called)
        directory = require_free(out, subject.name, subject.version, replace=force)
        manifest = export_network(network, subject, directory, replace=force)
    except (ArtifactError, OSError) as error:
        raise _refused(error) from error
    _tell_made(directory, manifest, as_json=as_json)


@app.command()
def imitate(
    out: Models,
    version: Annotated[str, typer.Option(help="Version of the artifact.", callback=_plain_name)],
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random choice.")] = 0,
    runs: Annotated[int, typer.Option(min=5, help="Trainings to learn from and be measured on.")] = 240,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Also write the checkpoint that `export` takes, to this file.")
    ] = None,
    force: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Train real networks under heuristics of all kinds, and a policy that imitates the default one."""
    import torch
    from rich.console import Console
    from rich.progress import Progress
    from tamiyo_models import ArtifactError
    from tamiyo_models.checkpoint import save_checkpoint
    from tamiyo_models.export import export_network
    from tamiyo_models.imitation import NAME, ImitationConfig, collect, learn

    from tamiyo_cli.artifact_names import require_free

    # Before trainings that take long: what could not be written is refused.
    require_writable("models", checkpoint)
    try:
        if checkpoint is not None and checkpoint.exists() and not force:
            raise ArtifactError(f"{checkpoint} is there already; name another file, or --force")
        directory = require_free(out, NAME, version, replace=force)
    except (ArtifactError, OSError) as error:
        raise _refused(error) from error
    torch.set_num_threads(1)
    config = ImitationConfig(runs=runs, seed=seed)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("trainings", total=runs)
        demonstrations = collect(config, lambda done, _: progress.update(task, completed=done))
    try:
        network, subject = learn(demonstrations, config, artifact_version=version)
        if checkpoint is not None:
            save_checkpoint(network, subject, checkpoint)
        manifest = export_network(network, subject, directory, replace=force)
    except (ArtifactError, OSError) as error:
        raise _refused(error) from error
    _tell_made(directory, manifest, as_json=as_json)


@app.command()
def inspect(artifact: Artifact, as_json: AsJson = False) -> None:
    """Show what an artifact says of itself; the files are checked, the network is not loaded."""
    from rich.console import Console
    from tamiyo_models import ArtifactError, read_manifest

    try:
        manifest = read_manifest(_named(artifact), check_files=True)
    except (ArtifactError, OSError) as error:
        raise _refused(error) from error
    if as_json:
        typer.echo(manifest.model_dump_json())
        return
    _show(Console(), manifest)


@app.command()
def verify(
    artifact: Artifact,
    device: Annotated[str, typer.Option(help="Where to load it: cpu, cuda or cuda:N.")] = "cpu",
    file_format: Annotated[
        str | None,
        typer.Option("--format", help="Only this: torchscript or onnx  \\[default: all the device runs]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Load an artifact on a device and ask its self-test. Status 1, with the reason, if it may not serve."""
    from tamiyo_models import ArtifactError, read_manifest

    if file_format not in (None, "torchscript", "onnx"):
        raise typer.BadParameter(f"{file_format} is no format; use torchscript or onnx")
    try:
        directory = _named(artifact)
        manifest = read_manifest(directory, check_files=True)
        formats = [file_format] if file_format else _formats_on(device, manifest)
        for chosen in formats:
            _tell_verified(_verified(directory, device, chosen), as_json=as_json)
    except (ArtifactError, OSError) as error:
        raise _refused(error) from error


def _named(artifact: Path) -> Path:
    """The directory of an artifact; another that could be meant is told of."""
    from tamiyo_cli.artifact_names import artifact_named, twin_of

    directory = artifact_named(artifact)
    twin = twin_of(directory)
    if twin is not None:
        typer.echo(
            f"tamiyo models: {artifact} is the one that comes with Tamiyo; services refuse"
            f" {harmless(str(twin))} under its name: give it another version",
            err=True,
        )
    return directory


def _formats_on(device: str, manifest: Manifest) -> list[str]:
    return list(manifest.files) if device == "cpu" else ["torchscript"]


def _verified(directory: Path, device: str, file_format: Any) -> dict[str, Any]:
    from tamiyo_models import load_network

    began = time.perf_counter()
    network = load_network(directory, device=device, file_format=file_format)
    return {
        "artifact": network.manifest.policy_version,
        "sha256": network.sha256,
        "device": network.device,
        "format": network.file_format,
        "rows": len(network.manifest.self_test.rows),
        "largest_difference": network.verify(),
        "tolerance": network.manifest.self_test.tolerance,
        "ready_s": round(time.perf_counter() - began, 3),
    }


def _tell_verified(found: dict[str, Any], *, as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(
        f"{found['artifact']}: {found['format']} on {found['device']} is sound; {found['rows']} answers"
        f" differ by at most {found['largest_difference']:.1g} of {found['tolerance']:g} allowed;"
        f" ready after {found['ready_s']} s"
    )


def _tell_made(directory: Path, manifest: Manifest, *, as_json: bool) -> None:
    import json

    sizes = {name: entry.size for name, entry in manifest.files.items()}
    if as_json:
        typer.echo(json.dumps({"directory": str(directory), "files": sizes, "metrics": manifest.metrics}))
        return
    written = ", ".join(f"{name} {size:,} bytes" for name, size in sizes.items())
    typer.echo(f"{directory}: {written}")


def _show(console: Console, manifest: Manifest) -> None:
    from rich.table import Table

    table = Table(title=plain(manifest.policy_version), title_justify="left", show_header=False)
    for name, value in _facts(manifest):
        table.add_row(name, plain(value))
    console.print(table)
    actions = _agreement(manifest)
    if actions:
        measured = Table("action", "rows", "recall", "precision", title="agreement on runs held out")
        for row in actions:
            measured.add_row(*map(plain, row))
        console.print(measured)


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    training, topology = manifest.training, manifest.topology
    sizes = (f"{name} {entry.path}, {entry.size:,} bytes" for name, entry in manifest.files.items())
    return [
        ("what it is", manifest.description),
        ("topology", f"{topology.name}: {', '.join(topology.blueprints)}"),
        ("actions", ", ".join(manifest.actions)),
        ("observation", f"{manifest.observation}, {len(manifest.feature_names)} features"),
        ("network", f"trunk {manifest.hidden}, heads {manifest.head}, {manifest.actors} actors"),
        ("value", manifest.value_meaning),
        ("normalised by", f"{manifest.normaliser.count:,} rows"),
        ("training", training.algorithm),
        ("seeds", ", ".join(map(str, training.seeds))),
        ("libraries", ", ".join(f"{name} {version}" for name, version in training.libraries.items())),
        ("self-test", f"{len(manifest.self_test.rows)} rows within {manifest.self_test.tolerance:g}"),
        *(("file", size) for size in sizes),
    ]


def _agreement(manifest: Manifest) -> list[tuple[str, str, str, str]]:
    """Rows of the table of agreement by action; none where the metrics hold no such table."""
    test = manifest.metrics.get("test")
    actions = test.get("actions") if isinstance(test, dict) else None
    if not isinstance(actions, dict):
        return []
    known = [(name, figures) for name, figures in actions.items() if isinstance(figures, dict)]
    return [
        (name, str(figures.get("rows")), _percent(figures.get("recall")), _percent(figures.get("precision")))
        for name, figures in known
    ]


def _percent(share: object) -> str:
    return f"{share:.0%}" if isinstance(share, float) else "–"


def _refused(error: ArtifactError | OSError) -> typer.Exit:
    typer.echo(f"tamiyo models: {harmless(str(error))}", err=True)
    return typer.Exit(1)
