"""The `theater` command."""

import sys
from typing import Annotated, Literal

import typer

from theater.errors import ConfigError, StartupError

app = typer.Typer(
    help="Real-time applications: every WebSocket connection talks to an actor.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH...",
        help="A manifest, a folder that holds theater.toml, or file.py:Class.",
        show_default=False,
    ),
]


@app.command()
def run(
    paths: Paths,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8080,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="How the log is written.")] = "text",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="The least that is logged.")
    ] = "info",
    health: Annotated[bool, typer.Option(help="Answer GET /_theater/health.")] = True,
    metrics: Annotated[bool, typer.Option(help="Answer GET /_theater/metrics.")] = True,
) -> None:
    """Serve actors until Ctrl-C."""
    from theater.app import bind
    from theater.cli import logs, serving
    from theater.config import load_manifests

    logs.configure(log_format, log_level)
    serving.serve(load_manifests(paths), bind(host, port), host, health, metrics)


@app.command()
def check(paths: Paths) -> None:
    """Say everything that is wrong with manifests, without serving them."""
    from theater.config import load_manifests

    for manifest in load_manifests(paths):
        served = ", ".join(f"{route.pattern.text} ({route.kind})" for route in manifest.routes)
        print(f"{manifest.file}: {manifest.name} {manifest.version}: {served}")


def main() -> None:
    """Runs the command; a mistake in a manifest exits with 2, a server that cannot start with 3."""
    try:
        app()
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except StartupError as error:
        print(f"theater: {error}", file=sys.stderr)
        sys.exit(3)
