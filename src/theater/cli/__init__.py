"""The `theater` command.

Whatever is slow to load is imported by the command that needs it: the time `theater run` takes to
start is budgeted.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from theater import __version__
from theater.errors import ConfigError, LocalError, StartupError
from theater.limits import Limits


def _examples(*lines: str) -> str:
    """An epilog; typer joins what is not set apart by an empty line."""
    return "\n\n".join(("[bold]Examples[/bold]", *lines))


def _help(*paragraphs: str) -> str:
    """A help text; typer would show the line breaks of a docstring's later paragraphs."""
    return "\n\n".join(paragraphs)


_PATH = "Each PATH is a manifest, a folder that holds theater.toml, or file.py:Class."


app = typer.Typer(
    help="Real-time applications: every WebSocket connection talks to an actor.",
    epilog=_examples(
        "theater new chat            make a project",
        "theater run chat --reload   serve it while you change it",
        "theater connect ws://127.0.0.1:8080/rooms/lobby",
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# What arguments are is said in the commands' docstrings: click 8.5 loses the help of typer's arguments.
Paths = Annotated[list[str], typer.Argument(metavar="PATH...", show_default=False)]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"Theater {__version__}")
        raise typer.Exit


@app.callback()
def _theater(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the command itself; `_show_version` has done all there is to do."""


@app.command(
    help=_help(
        "Serve actors until Ctrl-C.",
        _PATH,
        "Ctrl-C or SIGTERM says goodbye to all clients (close code 1001) and waits for them a few seconds;"
        " a second one ends the server at once. SIGHUP reads certificate and key again.",
        "Ends with 0 after that, with 2 if there are mistakes, and with 3 if it cannot start.",
    ),
    epilog=_examples(
        "theater run .                    what theater.toml here describes",
        "theater run chat game --port 0   two manifests, on any free port",
        "theater run echo.py:Echo         a class without a manifest, at /",
        "theater run . --reload           with a new start after every change",
        "theater run . --host 0.0.0.0 --port 443 --tls-cert cert.pem --tls-key key.pem",
        "theater run . --uds /run/theater/theater.sock --log-format json",
    ),
)
def run(
    context: typer.Context,
    paths: Paths,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen on; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port; 0 picks a free one.")
    ] = 8080,
    reuse_port: Annotated[
        bool, typer.Option("--reuse-port", help="Let several servers listen on the port (SO_REUSEPORT).")
    ] = False,
    uds: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Listen on a Unix socket instead.", show_default=False),
    ] = None,
    tls_cert: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Speak TLS, with this certificate chain.", show_default=False),
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="The certificate's private key.", show_default=False)
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when a file beside a manifest changes.")
    ] = False,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(metavar="FORMAT", help="How the log is written: text or json.")
    ] = "text",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option(metavar="LEVEL", help="The least that is logged: debug, info, warning or error."),
    ] = "info",
    health: Annotated[bool, typer.Option(help="Answer GET /_theater/health.")] = True,
    metrics: Annotated[bool, typer.Option(help="Answer GET /_theater/metrics.")] = True,
) -> None:
    """Serves until a signal comes."""
    from theater.cli import logs, serving
    from theater.cli.endpoint import Endpoint
    from theater.config import load_manifests

    _check_run(context, uds, tls_cert, tls_key)
    logs.configure(log_format, log_level)
    endpoint = Endpoint(host, port, reuse_port, uds)
    options = serving.Options(health, metrics, tls_cert, tls_key)
    if not reload:
        manifests = load_manifests(paths)
        with endpoint.bound() as sock:
            serving.serve(manifests, sock, endpoint, options)
        return
    from theater.cli import reloading

    inherited = reloading.inherited_socket()
    if inherited is None:
        raise typer.Exit(reloading.supervise(paths, endpoint, forward_hangup=tls_cert is not None))
    serving.serve(load_manifests(paths), inherited, endpoint, options, reloading.CHILD_SIGNALS)


def _check_run(context: typer.Context, uds: str | None, tls_cert: str | None, tls_key: str | None) -> None:
    """Finds options that do not go together."""
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("the other one is missing", param_hint="'--tls-cert' / '--tls-key'")
    if uds is not None:
        for name in ("host", "port", "reuse_port"):
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                hint = f"'--{name.replace('_', '-')}'"
                raise typer.BadParameter("a Unix socket has none; leave it or --uds out", param_hint=hint)


@app.command(
    help=_help(
        "Say everything that is wrong with manifests, without serving them.",
        _PATH,
        "Mistakes go to standard error, one to a line; then it ends with 2.",
    ),
    epilog=_examples("theater check .", "theater check chat game echo.py:Echo"),
)
def check(paths: Paths) -> None:
    """Prints what each manifest serves."""
    from theater.cli.summary import summary
    from theater.config import inspect_manifests

    for line in summary(*inspect_manifests(paths)):
        print(line)


@app.command(
    help=_help(
        "Show all limits of a server with these manifests, and mark what is unsafe or doubtful.",
        _PATH,
        "Ends with 0, or with --strict with 1 if something is marked.",
    ),
    epilog=_examples("theater doctor .", "theater doctor chat game --strict"),
)
def doctor(
    paths: Paths,
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 if something is marked.")] = False,
) -> None:
    """Prints the limits, and what to think of them."""
    from theater.cli.doctor import examine
    from theater.config import load_manifests

    if examine(load_manifests(paths)) and strict:
        raise typer.Exit(1)


@app.command(
    help=_help(
        "Talk to a WebSocket server, by hand or from a script.",
        "URL is one such as ws://127.0.0.1:8080/path or wss://example.org.",
        "Where standard input is no terminal, each of its lines is sent as a text message, and each message"
        " received is printed as one line, a binary one in hexadecimal. Then it ends with 1 if it cannot"
        " connect, if an answer does not come, or if the server closes because of a fault.",
    ),
    epilog=_examples(
        "theater connect ws://127.0.0.1:8080/rooms/lobby   by hand; /help there",
        "theater connect URL --header 'Authorization: Bearer x' --subprotocol chat",
        "echo hello | theater connect URL --once           print one answer",
        "theater connect URL --once --send one --send two  one answer to each",
    ),
)
def connect(
    url: Annotated[str, typer.Argument(metavar="URL", show_default=False)],
    header: Annotated[
        list[str],
        typer.Option(
            default_factory=list,
            show_default=False,
            metavar="'NAME: VALUE'",
            help="Add a header; repeatable.",
        ),
    ],
    subprotocol: Annotated[
        list[str],
        typer.Option(
            default_factory=list, show_default=False, metavar="NAME", help="Offer a subprotocol; repeatable."
        ),
    ],
    send: Annotated[
        list[str],
        typer.Option(
            default_factory=list,
            show_default=False,
            metavar="TEXT",
            help="Send this instead of standard input; repeatable.",
        ),
    ],
    once: Annotated[
        bool, typer.Option("--once", help="Print the first message after each one sent, and end.")
    ] = False,
    linger: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="In a script: seconds without a message after which it closes."
        ),
    ] = 0.5,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.001, help="Seconds to connect, and to wait for an answer."),
    ] = 10.0,
    max_message: Annotated[
        int, typer.Option(metavar="BYTES", min=1, help="Bytes of the largest message to take.")
    ] = Limits().max_message,
    insecure: Annotated[bool, typer.Option("--insecure", help="Trust any TLS certificate.")] = False,
) -> None:
    """Talks until one side closes."""
    from theater.cli.dialogue import Target, talk

    headers = []
    for each in header:
        name, colon, value = each.partition(":")
        if not colon:
            raise typer.BadParameter(f"{each!r}: expected 'Name: value'", param_hint="'--header'")
        headers.append((name.strip(), value.strip()))
    target = Target(
        url=url if "://" in url else f"ws://{url}",
        headers=headers,
        subprotocols=subprotocol,
        timeout=timeout,
        max_message=max_message,
        insecure=insecure,
    )
    try:
        code = talk(target, send, once, linger)
    except LocalError as error:
        raise typer.BadParameter(str(error), param_hint="'--header'") from error
    raise typer.Exit(code)


@app.command(
    help=_help(
        "Build a component from the source of an actor, for a manifest to name.",
        "SOURCE is a file in Python (file.py or file.py:Class), JavaScript (.js, .mjs), Zig, C or WebAssembly"
        " text (.wat), or a core module (.wasm). Python needs componentize-py, JavaScript Node.js, Zig and C"
        " ziglang.",
        "Ends with 2 if the source has mistakes, or what builds it is missing.",
    ),
    epilog=_examples(
        "theater build chat.js                    writes chat.wasm",
        "theater build chat.py:ChatRoom           one of several actors",
        "theater build chat.zig -o out/chat.wasm",
        "theater build module.wasm -o chat.wasm   a core module, whatever made it",
    ),
)
def build(
    source: Annotated[str, typer.Argument(metavar="SOURCE", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write; beside SOURCE if left out.",
            show_default=False,
        ),
    ] = None,
    path: Annotated[
        list[Path] | None,
        typer.Option(
            "--path",
            metavar="FOLDER",
            help="Where Python looks for modules besides; they must be written in Python. May be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Builds, and says what came out."""
    from theater.cli import building

    raise typer.Exit(building.build(source, output, path or ()))


@app.command(
    help=_help(
        "Make a project: an actor and its manifest, ready to run.",
        "NAME is that of the actor: lower-case letters, digits and hyphens, beginning with a letter.",
        "An actor in Python runs in the server's process, and has tests; one in JavaScript or Zig is built"
        " into a component, which runs in a sandbox.",
    ),
    epilog=_examples(
        "theater new chat",
        "theater new chat --language javascript",
        "theater new chat --path ~/projects/chat",
    ),
)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    path: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder to make; NAME, if left out.", show_default=False),
    ] = None,
    language: Annotated[
        Literal["python", "javascript", "zig"],
        typer.Option(metavar="LANGUAGE", help="Of the actor: python, javascript or zig."),
    ] = "python",
) -> None:
    """Makes a project, and says what to do with it."""
    import shlex

    from theater.cli import project

    folder = path or Path(name)
    for file in project.create(name, folder, language):
        print(f"made {file}")
    print("\nNext:", f"cd {shlex.quote(str(folder))}", *project.COMMANDS[language], sep="\n  ")
    print("and from another terminal:", "theater connect ws://127.0.0.1:8080/rooms/lobby", sep="\n  ")
    if language == "python":
        print("Its tests:", "pytest", sep="\n  ")


def main() -> None:
    """Runs the command; a mistake in a manifest exits with 2, a server that cannot start with 3."""
    try:
        app(prog_name="theater")
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except StartupError as error:
        print(f"theater: {error}", file=sys.stderr)
        sys.exit(3)
