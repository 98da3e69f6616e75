"""`theater doctor`: all limits in tables, and what to think of them."""

import sys
from collections.abc import Iterable, Iterator, Mapping

from msgspec import structs
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from theater.cli.diagnosis import Finding, Scope, diagnose, scopes
from theater.cli.summary import options, show
from theater.config import Configuration, Manifest, resolve
from theater.config.settings import UNITS
from theater.limits import ActorLimits, ConnectionLimits, Limits
from theater.server.admission import Policy
from theater.server.descriptors import most_connections, raise_limit

_DEFAULT = Limits()
_POLICY = Policy()
_NARROW = 80  # columns


def examine(manifests: Iterable[Manifest]) -> list[Finding]:
    """Prints the limits of a server with these manifests; returns what it marks."""
    raise_limit()  # as the server does
    configuration = resolve(manifests)
    findings = diagnose(configuration, most_connections())
    console = Console(file=sys.stdout, highlight=False)
    for table in _tables(configuration, findings, console.width < _NARROW):
        console.print(table)
    for finding in findings:
        line = Text.assemble(("! ", "bold red"), (f"{finding.scope}: {finding.name}", "bold"))
        line.append(f": {finding.why}; {finding.advice}")
        console.print(line, soft_wrap=not console.is_terminal)
    if not findings:
        console.print("Nothing is marked.")
    return findings


def _tables(configuration: Configuration, findings: list[Finding], narrow: bool) -> Iterator[Table]:
    """One for the server, one for each actor type, and one for each path that has something of its own."""
    for scope in scopes(configuration):
        # What is said about a limit of the server holds for who has it from there.
        marked = {
            finding.name.partition(" ")[0]
            for finding in findings
            if finding.scope == scope.name or (finding.scope == "server" and scope.route is None)
        }
        if scope.route is not None:
            names = [name for name in ConnectionLimits.__struct_fields__ if _differs(scope, name)]
            further = options(scope.route)
        elif scope.wider is not None:
            names, further = list(ActorLimits.__struct_fields__), {}
        else:
            names = [name for name in Limits.__struct_fields__ if name not in ActorLimits.__struct_fields__]
            policy = structs.asdict(configuration.policy)
            further = {name: value for name, value in policy.items() if value != getattr(_POLICY, name)}
        if names or further:
            yield _table(scope, names, further, marked, narrow)


def _differs(scope: Scope, name: str) -> bool:
    return bool(getattr(scope.limits, name) != getattr(scope.wider, name))


def _table(
    scope: Scope, names: Iterable[str], further: Mapping[str, object], marked: set[str], narrow: bool
) -> Table:
    """A table of limits, and of what else is set; a narrow one has one column for all values.

    What a path would have otherwise is its actor's.
    """
    table = Table(title=scope.name, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("  limit", no_wrap=True)
    for header in ["value"] if narrow else ["default" if scope.route is None else "actor's", "set"]:
        table.add_column(header, justify="right", overflow="fold")
    if not narrow:
        table.add_column("unit")
    defaults = _DEFAULT if scope.route is None else scope.wider

    def add(name: str, default: str, value: str, unit: str) -> None:
        mark = ("! ", "bold red") if name in marked else "  "
        cells = [Text(default, "dim"), Text(value, "bold"), Text(unit)]
        if narrow:
            cells = [cells[1] if value else cells[0]]
        table.add_row(Text.assemble(mark, name), *cells)

    for name in names:
        value, default = getattr(scope.limits, name), getattr(defaults, name)
        add(name, show(default), show(value) if value != default else "", UNITS.get(name, ""))
    for name, value in further.items():
        add(name, "", show(value), "")
    return table
