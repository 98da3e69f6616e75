"""The table: for people in a terminal, and for readers of the documentation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from interop_clients.features import FEATURES

OK: Final = "ok"
FAILED: Final = "failed"
NONE: Final = "–"  # there is no interface for it

_BEGIN: Final = "<!-- interop -->\n"
_END: Final = "<!-- /interop -->"
_COLORS: Final = {OK: "green", FAILED: "bold red", NONE: "dim"}


class Cell(NamedTuple):
    """One field of the table.

    Attributes:
        state: `OK`, `FAILED` or `NONE`.
        why: it is not ok.
        wire: the beginning of the connection.
        known: it has failed for a reason of the client's own.
    """

    state: str
    why: str = ""
    wire: str = ""
    known: bool = False


class Row(NamedTuple):
    """A client.

    Attributes:
        name, version: its own.
        cells: by feature.
        missing: why it could not be tried; then there are no cells.
    """

    name: str
    version: str
    cells: dict[str, Cell]
    missing: str = ""

    @property
    def problems(self) -> dict[str, Cell]:
        """The features that have failed, and are not known to."""
        return {name: cell for name, cell in self.cells.items() if cell.state == FAILED and not cell.known}


class _Notes:
    """Footnotes, numbered as they come up."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def number(self, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def print_rows(console: Console, rows: Sequence[Row]) -> None:
    """Prints the table, turned so that it fits a terminal, and loudly what is not in it."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    tried = [row for row in rows if not row.missing]
    for row in tried:
        table.add_column(_title(row), overflow="fold")
    notes = _Notes()
    for feature in FEATURES:
        cells = [row.cells[feature.name] for row in tried]
        marks = [f" {notes.number(cell.why)}" if cell.state == NONE or cell.known else "" for cell in cells]
        fields = [
            f"[{_COLORS[cell.state]}]{cell.state}[/]{mark}" for cell, mark in zip(cells, marks, strict=True)
        ]
        table.add_row(feature.name, *fields)
    if tried:
        console.print(table)
    for number, text in enumerate(notes.texts, 1):
        console.print(f"{number}: {escape(text)}", soft_wrap=True)
    for row in tried:
        for name, cell in row.problems.items():
            console.print(f"[bold red]{_title(row)}, {name}:[/] {escape(cell.why)}", soft_wrap=True)
            console.print(escape(cell.wire), soft_wrap=True, highlight=False)
    for row in rows:
        if row.missing:
            console.print(f"[bold red]SKIPPED: {_title(row)}[/]: {escape(row.missing)}")


def write_rows(page: Path, rows: Sequence[Row]) -> None:
    """Replaces the table of a page, between its markers."""
    notes = _Notes()
    lines = ["| client | " + " | ".join(feature.name for feature in FEATURES) + " |"]
    lines.append("|---|" + "---|" * len(FEATURES))
    for row in rows:
        if not row.missing:
            cells = [row.cells[feature.name] for feature in FEATURES]
            marks = [f" <sup>{notes.number(cell.why)}</sup>" if cell.why else "" for cell in cells]
            fields = [cell.state + mark for cell, mark in zip(cells, marks, strict=True)]
            lines.append(f"| {row.name} {row.version} | " + " | ".join(fields) + " |")
    lines.append("")
    lines += [f"{number}. {text[0].upper()}{text[1:]}." for number, text in enumerate(notes.texts, 1)]
    missing = [f"{row.name} ({row.missing})" for row in rows if row.missing]
    lines += ["", f"Not tried: {', '.join(missing)}."] if missing else []
    before, begin, rest = page.read_text("utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{page} has no {_BEGIN.strip()} ... {_END}")
    page.write_text(before + begin + "\n".join(lines) + "\n" + end + after, "utf-8")


def _title(row: Row) -> str:
    return f"{row.name} {row.version}".strip().replace("`", "")
