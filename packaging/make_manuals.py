"""Writes manual pages and shell completions from the command line itself: make_manuals.py FOLDER.

FOLDER is the root of a package; the pages are hearth(1) and one for each command.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import typer.main
from typer._click.core import Command
from typer._completion_shared import get_completion_script
from typer._param_types import choice_as_str
from typer.core import TyperArgument, TyperGroup, TyperOption

from agent import errors
from agent.cli.app import COMPLETE, app
from agent.version import version

COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/hearth",
    "zsh": "usr/share/zsh/vendor-completions/_hearth",
    "fish": "usr/share/fish/vendor_completions.d/hearth.fish",
}
FILES = (
    ("/etc/hearth/hearth.toml, /etc/hearth/conf.d/*.toml", "Configuration; all of it is optional."),
    ("/var/lib/hearth", "Keys, the log, the journal of leases and receipts."),
    ("/run/hearth/admin.sock", "Where the commands ask the daemon: root and the group hearth."),
)


def roff(text: str) -> str:
    """Text as roff prints it literally."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def paragraphs(text: str) -> str:
    """A help text: its paragraphs, without the marks of a docstring."""
    parts = re.split(r"\n\s*\n", text.replace("\f", "").replace("`", "").strip())
    return "\n.PP\n".join(roff(" ".join(part.split())) for part in parts)


def sentence(text: str | None) -> str:
    """The first paragraph of a help text, for a list."""
    return (text or "").replace("`", "").split("\n\n")[0].replace("\n", " ").strip()


def value_of(option: TyperOption) -> str:
    """What stands behind an option; nothing behind a flag."""
    if option.is_flag:
        return ""
    if choices := option.type_descriptor.choices:
        return "|".join(choice_as_str(choice) for choice in choices)
    return option.metavar or (option.name or "value").upper().replace("_", "-")


def synopsis(path: str, command: Command) -> str:
    """One line: the words, required options, arguments."""
    words = [f".B {roff(path)}\n"]
    options = [item for item in command.params if isinstance(item, TyperOption)]
    if any(not item.required for item in options):
        words.append("[\\fIOPTION\\fR...]")
    words += [f"\\fB{roff(o.opts[0])}\\fR \\fI{value_of(o)}\\fR" for o in options if o.required]
    for item in command.params:
        if isinstance(item, TyperArgument):
            name = item.metavar or (item.name or "").upper()
            name = f"\\fI{roff(name)}\\fR" + ("..." if item.nargs == -1 else "")
            words.append(name if item.required else f"[{name}]")
    if isinstance(command, TyperGroup):
        words.append("\\fICOMMAND\\fR ...")
    return words[0] + " ".join(words[1:])


def options(command: Command) -> Iterator[str]:
    """Its arguments and options, one after the other."""
    for item in command.params:
        if isinstance(item, TyperArgument):
            yield f".TP\n\\fI{roff(item.metavar or (item.name or '').upper())}\\fR"
            yield roff(item.help or "")
        elif isinstance(item, TyperOption) and not item.hidden:
            names = ", ".join(
                f"\\fB{roff(name)}\\fR" for name in (*item.opts, *item.secondary_opts)
            )
            yield f".TP\n{names} \\fI{roff(value_of(item))}\\fR".rstrip()
            notes = [sentence(item.help)]
            if item.default not in (None, False, (), "") and not item.is_flag:
                notes.append(f"Default: {item.default}.")
            if item.envvar:
                notes.append(f"Also from the environment: {item.envvar}.")
            yield roff(" ".join(note for note in notes if note))


def described(path: str, command: Command) -> Iterator[str]:
    """A command without commands of its own: what it does, its options."""
    yield paragraphs(command.help or "")
    yield from options(command)


def page(name: str, about: str, body: list[str], date: str) -> str:
    """One page in man(7)."""
    head = f'.TH {name.upper()} 1 "{date}" "hearth {version()}" "Hearth"'
    return "\n".join([head, ".SH NAME", f"{name} \\- {roff(about.rstrip('.'))}", *body]) + "\n"


def overview(root: TyperGroup) -> list[str]:
    """The body of hearth(1)."""
    body = [
        ".SH SYNOPSIS",
        synopsis("hearth", root),
        ".SH DESCRIPTION",
        paragraphs(root.help or ""),
    ]
    body += [".SH COMMANDS"]
    for name, command in sorted(root.commands.items()):
        body += [f".TP\n\\fBhearth {name}\\fR", roff(sentence(command.help))]
    body += [".SH OPTIONS", *options(root), ".SH FILES"]
    for path, what in FILES:
        body += [f".TP\n.I {roff(path)}", roff(what)]
    codes = re.search(r"Exit codes: (.*?)\.\n", errors.__doc__ or "", re.DOTALL)
    if codes is None:
        raise SystemExit("make_manuals: agent.errors says no exit codes")
    body += [".SH EXIT STATUS", roff(" ".join(codes[1].replace("`", "").split())) + "."]
    pages = ", ".join(f"\\fBhearth\\-{name}\\fR(1)" for name in sorted(root.commands))
    return [*body, ".SH SEE ALSO", pages]


def command_page(name: str, command: Command) -> list[str]:
    """The body of one command's page; commands below it are on the same page."""
    path = f"hearth {name}"
    leaves = command.commands if isinstance(command, TyperGroup) else {}
    body = [".SH SYNOPSIS"]
    for word, leaf in leaves.items():
        body += [synopsis(f"{path} {word}", leaf), ".br"]
    if not leaves:
        body.append(synopsis(path, command))
    body += [".SH DESCRIPTION", *described(path, command)]
    for word, leaf in leaves.items():
        body += [f".SS {path} {word}", *described(f"{path} {word}", leaf)]
    return [*body, ".SH SEE ALSO", "\\fBhearth\\fR(1)"]


def write(folder: Path, date: str) -> None:
    """All pages and completions below `folder`."""
    root = typer.main.get_command(app)
    if not isinstance(root, TyperGroup):
        raise SystemExit("make_manuals: the command line has no commands")
    manuals = folder / "usr/share/man/man1"
    manuals.mkdir(parents=True, exist_ok=True)
    about = sentence(root.help)
    (manuals / "hearth.1").write_text(page("hearth", about, overview(root), date), "utf-8")
    for name, command in root.commands.items():
        text = page(f"hearth-{name}", sentence(command.help), command_page(name, command), date)
        (manuals / f"hearth-{name}.1").write_text(text, "utf-8")
    for shell, place in COMPLETIONS.items():
        script = get_completion_script(prog_name="hearth", complete_var=COMPLETE, shell=shell)
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(script + "\n", "utf-8")


if __name__ == "__main__":
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", "0")) or int(datetime.now(UTC).timestamp())
    write(Path(sys.argv[1]), datetime.fromtimestamp(seconds, UTC).date().isoformat())
