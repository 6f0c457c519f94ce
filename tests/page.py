"""A page of docs/ whose commands are run and whose output is held against the real one.

Blocks marked `console` are typed into one shell, in order: what follows a `$ ` is a command, the
rest is what it says. `...` stands for lines left out, ids and times may be others.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LOOSE = re.compile(
    r"[0-9a-f]{8}\.{3}(?=:)"  # a job's id, cut short
    r"|(?<=<id>)-[a-z0-9]{6}\b"  # the engine's own addition to it
    r"|\d{4}-\d\d-\d\d[T ][0-9:.]+Z?"
    r"|\d+(?= %)"
)
"""What differs from run to run, beside ids."""

_MARK = "@@ end of a command"
_MOVING = re.compile(r": running \d+ %$")


@dataclass(frozen=True)
class Command:
    """A command, several lines long where they end in a backslash, and what it says."""

    text: str
    said: list[str] = field(default_factory=list)


def blocks(page: Path, kind: str) -> list[str]:
    """Return the texts of the blocks of one kind."""
    return [body for name, body in _BLOCK.findall(page.read_text()) if name == kind]


def commands(page: Path) -> list[Command]:
    """Return what the page has a reader type."""
    found: list[Command] = []
    open_ended = False
    for line in (line for body in blocks(page, "console") for line in body.splitlines()):
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif open_ended:
            last = found.pop()
            found.append(Command(f"{last.text}\n{line}"))
        else:
            found[-1].said.append(line)
        open_ended = found[-1].text.endswith("\\") and not found[-1].said
    return found


class Shell:
    """One bash for a whole page, with nothing of the caller's environment."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def type(self, command: str) -> list[str]:
        """Run a command and return what it says."""
        assert self._shell.stdin
        assert self._shell.stdout
        # what follows the command leaves its status to the next one
        self._shell.stdin.write(f"{command}\n(s=$?; printf '\\n%s\\n' '{_MARK}'; exit $s)\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            if line.rstrip() == _MARK:
                break
            lines.append(line.rstrip())
        self.output += "\n".join(["", f"$ {command}", *lines])
        return lines

    def close(self) -> None:
        """Let it end."""
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.close()
        self._shell.stdout.close()
        self._shell.wait(30)


class Reader:
    """Types a page into a shell; `places` are hosts of the page and what stands for them."""

    def __init__(self, shell: Shell, places: Mapping[str, str]) -> None:
        self._shell = shell
        self._places = dict(places)

    def follow(self, command: Command) -> None:
        """Run one command.

        Raises:
            AssertionError: it does not say what the page says.
        """
        said = self._shell.type(self._here(command.text))
        rest = iter(said)
        for line in map(self._here, command.said):
            if line.strip() in ("", "...") or _MOVING.search(line):
                continue  # how often one looks at a moving job is a matter of speed
            for real in rest:
                if same(line, real):
                    self._places.update(zip(_ID.findall(line), _ID.findall(real), strict=False))
                    break
            else:
                raise AssertionError("\n".join([f"$ {command.text}", f"lacks: {line}", *said]))

    def _here(self, text: str) -> str:
        for name, real in self._places.items():
            text = text.replace(name, real)
        return text


def same(line: str, real: str) -> bool:
    """Whether a line of the page, which may be cut off by `...`, is the real one."""
    wanted, found = (_LOOSE.sub("<>", _ID.sub("<id>", one.rstrip())) for one in (line, real))
    return found.startswith(wanted[:-3]) if wanted.endswith("...") else found == wanted
