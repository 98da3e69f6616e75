"""The tables of the reference hold exactly what the code has."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import theater
from theater import Actor, Connection, errors, limits, testing
from theater.app import Theater
from theater.config import load_manifests
from theater.config.settings import UNITS
from theater.protocol.deflate import ContextBudget
from theater.server.metrics import Metrics

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def rows(page: str, heading: str = "") -> list[list[str]]:
    """The cells of all table rows of a page, or of one of its sections."""
    text = (REFERENCE / page).read_text("utf-8")
    if heading:
        _, found, text = text.partition(f"\n{heading}\n")
        assert found, f"{page} has no {heading}"
        text = re.split(r"^#{1,3} ", text, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines
    ]


def names(page: str, heading: str = "") -> list[str]:
    """The names in backticks that begin the rows of a table."""
    found = (re.match(r"`([^`]+)`", row[0]) for row in rows(page, heading))
    return [match[1] for match in found if match]


def test_limits_are_those_of_the_code() -> None:
    scopes = (
        ("## Of a connection", limits.ConnectionLimits, ()),
        ("## Of an actor", limits.ActorLimits, limits.ConnectionLimits.__struct_fields__),
        ("## Of the server", limits.Limits, limits.ActorLimits.__struct_fields__),
    )
    for heading, kind, wider in scopes:
        shown = {row[0]: row[1:3] for row in rows("limits.md", heading) if row[0].startswith("`")}
        assert shown == {
            f"`{field.name}`": [default(field.default), UNITS.get(field.name, "")]
            for field in msgspec.structs.fields(kind)
            if field.name not in wider
        }
    fixed = {row[0]: row[1] for row in rows("limits.md", "## Fixed") if row[0].startswith("`")}
    names = ("MAX_TAGS", "MAX_TAG_LENGTH", "MAX_ATTACHMENT")
    assert fixed == {f"`{name}`": default(getattr(limits, name)) for name in names}


def default(value: object) -> str:
    """A default as `limits.md` shows it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    return f"`{value:_}`" if isinstance(value, int | float) else f"`{value}`"


def test_manifest_keys_are_those_of_the_code(tmp_path: Path) -> None:
    def known(text: str) -> list[str]:
        """What a manifest with the key `zzz` is told to have instead."""
        (tmp_path / "theater.toml").write_text(text)
        with pytest.raises(errors.ConfigError) as caught:
            load_manifests([str(tmp_path)])
        expected = next(each.expected for each in caught.value.mistakes if each.key.endswith("zzz"))
        return expected.removeprefix("only ").removesuffix(", the limits of connections").split(", ")

    handlers = {
        key
        for kind in ("websocket-server", "http-server")
        for key in known(f'[[handlers]]\ntype = "{kind}"\nzzz = 1')
    }
    assert set(names("manifest.md", "## The whole file")) == set(known("zzz = 1"))
    assert set(names("manifest.md", "## `[[handlers]]`")) == handlers
    assert set(names("manifest.md", "## `[server]`")) == set(known("server.zzz = 1"))


async def test_metrics_are_those_of_the_server() -> None:
    server = Theater([])
    page = Metrics(server.system, server.admission.refused, ContextBudget(0)).page().body.decode()
    assert names("metrics.md", "## `GET /_theater/metrics`") == re.findall(r"# TYPE (\S+)", page)


def test_errors_are_those_of_the_code() -> None:
    tree = (REFERENCE / "errors.md").read_text("utf-8").split("```text\n")[1].split("```")[0]
    shown = re.findall(r"\b([A-Z][A-Za-z]+)(?=\s{2,}|\n)", tree)
    code = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.TheaterError)
    }
    assert sorted(shown) == sorted(code)


@pytest.mark.parametrize("command", ["run", "check", "doctor", "build", "new", "connect"])
def test_options_are_those_of_the_command(command: str) -> None:
    shown_help = subprocess.run(
        [sys.executable, "-m", "theater", command, "--help"],
        stdout=-1,
        check=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    ).stdout
    box = shown_help.partition("─ Options ─")[2].partition("╰")[0]
    options = set(re.findall(r"(?<=[ │])--[a-z-]+", box)) - {"--help"}
    heading = {"build": "SOURCE", "new": "NAME", "connect": "URL"}.get(command, "PATH...")
    shown = {
        name
        for row in rows("cli.md", f"## `theater {command} {heading}`")
        for name in re.findall(r"--[a-z-]+", row[0])
    }
    assert shown == options


def test_actor_and_connection_are_complete() -> None:
    text = (REFERENCE / "actor.md").read_text("utf-8")
    for kind in (Actor, Connection):
        members = {name for each in kind.__mro__ for name in vars(each) if not name.startswith("_")}
        for name in members - {"wire"}:
            assert re.search(rf"`(await )?{name}[`(]", text), f"{kind.__name__}.{name} is not in actor.md"


def test_every_public_name_has_a_place() -> None:
    text = "".join(page.read_text("utf-8") for page in REFERENCE.glob("*.md"))
    for name in [*theater.__all__, *testing.__all__]:
        assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", text), f"{name} is not in the reference"


def test_close_codes_of_the_host_are_all_there() -> None:
    text = (REFERENCE / "events-and-messages.md").read_text("utf-8")
    table = text.split("Codes that the host sends by itself:")[1].split("Codes in `Closed`:")[0]
    for reason in ("GOING_AWAY", "PROTOCOL_ERROR", "INVALID_TEXT", "MESSAGE_TOO_BIG", "TOO_SLOW"):
        assert f"| {errors.Reason[reason].close_code} |" in table
