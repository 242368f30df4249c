"""What the documents show is what happens.

A block marked ```console is run: each `$ ` line is a command (continued where it ends in a backslash), the lines after
it are its standard output. All blocks of a document run in order in one shell, in an empty folder with a home of its
own and a folder `photos` in it. A command has to exit 0, or as its last words say: `# exits 1`. Its output is compared
loosely: numbers are alike, runs of blanks too, and `...` stands for anything, on a line or for lines; a command that
shows no output may print what it likes. Blocks marked ```sh (what takes a network or root) are parsed, not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```(?P<kind>\w+)[^\n]*\n(?P<body>.*?)^\1```", re.MULTILINE | re.DOTALL)
END = "end-of-command"


@dataclass(frozen=True)
class Shown:
    """A command as a document shows it."""

    command: str
    output: str
    status: int


def blocks(text: str, kind: str) -> list[str]:
    return [
        re.sub(f"^{found[1]}", "", found["body"], flags=re.MULTILINE)
        for found in BLOCK.finditer(text)
        if found["kind"] == kind
    ]


def commands(text: str) -> list[Shown]:
    shown = []
    for body in blocks(text, "console"):
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command = re.match(r"(.*\\\n)*.*\n?", part)
            assert command
            status = re.search(r"# exits (\d+)\s*$", command[0])
            shown.append(Shown(command[0].strip(), part[command.end() :].strip("\n"), int(status[1]) if status else 0))
    return shown


def agrees(printed: str, shown: str) -> bool:
    """Whether an output is, loosely, what a document shows."""
    pattern = re.escape(_loose(shown)).replace(re.escape("..."), "(?s:.*)")
    return not shown or re.fullmatch(pattern, _loose(printed)) is not None


def _loose(text: str) -> str:
    lines = [re.sub(r"[ \t]+", " ", re.sub(r"\d+([.,:]\d+)*", "#", line)).strip() for line in text.strip().splitlines()]
    return "\n".join(lines)


class Shell:
    """One bash in which commands follow each other, so that `cd` and `export` last."""

    def __init__(self, folder: Path, home: Path) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = os.environ | {"BLIPQ_HOME": str(home), "PATH": path, "HOME": str(folder), "NO_COLOR": "1"}
        self.errors = folder.parent / "stderr"
        with open(self.errors, "w") as errors:
            self.bash = subprocess.Popen(
                ["bash", "--norc"],
                cwd=folder,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                errors="surrogateescape",
            )

    def run(self, command: str) -> tuple[int, str]:
        """The exit status and the standard output."""
        keyboard, screen = self._pipes()
        keyboard.write(f"{{ {command}\n}} </dev/null\nprintf '\\n{END} %d\\n' $?\n")
        keyboard.flush()
        lines: list[str] = []
        for line in screen:
            if line.startswith(END):
                return int(line.split()[1]), "".join(lines).removesuffix("\n")
            lines.append(line)
        raise AssertionError(f"the shell ended in: {command}\n{self.errors.read_text()}")

    def close(self) -> None:
        for pipe in self._pipes():
            pipe.close()
        self.bash.wait(10)

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self.bash.stdin
        assert self.bash.stdout
        return self.bash.stdin, self.bash.stdout


@pytest.fixture
def shell(tmp_path: Path, home: Path) -> Iterator[Shell]:
    photos = tmp_path / "work" / "photos"
    photos.mkdir(parents=True)
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (96, 96), colour).save(photos / f"{number}.jpg")
    shell = Shell(tmp_path / "work", home)
    yield shell
    if home.exists():
        shell.run("blipq down")
    shell.close()


@pytest.mark.parametrize("document", [pytest.param(path, id=path.name) for path in DOCUMENTS])
def test_every_command_that_is_shown_does_what_is_shown(document: Path, shell: Shell) -> None:
    for shown in commands(document.read_text()):
        status, printed = shell.run(shown.command)
        assert status == shown.status, f"$ {shown.command}\n{printed}\n{shell.errors.read_text()[-2000:]}"
        assert agrees(printed, shown.output), f"$ {shown.command}\nshows:\n{shown.output}\nprints:\n{printed}"


@pytest.mark.parametrize("document", [pytest.param(path, id=path.name) for path in DOCUMENTS])
def test_what_is_not_run_is_at_least_shell(document: Path) -> None:
    for body in blocks(document.read_text(), "sh"):
        subprocess.run(["bash", "-n", "-c", body], check=True)


EXAMPLE = """
```console
$ mkdir one && cd one
$ export WORD=said && \\
  touch a
$ ls; echo "$WORD 12 things in 3.4 s"
a
said 7 things in 99 s
$ false  # exits 1
```

- and indented:

  ```console
  $ pwd; seq 4
  /...one
  1
  ...
  4
  $ cat
  ```
"""


def test_commands_are_read_with_their_output_and_status() -> None:
    assert commands(EXAMPLE) == [
        Shown("mkdir one && cd one", "", 0),
        Shown("export WORD=said && \\\n  touch a", "", 0),
        Shown('ls; echo "$WORD 12 things in 3.4 s"', "a\nsaid 7 things in 99 s", 0),
        Shown("false  # exits 1", "", 1),
        Shown("pwd; seq 4", "/...one\n1\n...\n4", 0),
        Shown("cat", "", 0),
    ]


def test_commands_run_in_one_shell(shell: Shell) -> None:
    for shown in commands(EXAMPLE):
        status, printed = shell.run(shown.command)
        assert status == shown.status
        assert agrees(printed, shown.output)


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        ("captioned 24 images in 3.1 s", "captioned 24 images in 0.9 s", True),
        ("a   b\n", "a b", True),
        ("a cat", "a dog", False),
        ("a\nb\nc\nd", "a\n...\nd", True),
        ("a\nb", "a", False),
        ("whatever", "", True),
        ("", "something", False),
    ],
)
def test_outputs_are_compared_loosely_but_they_are_compared(printed: str, shown: str, same: bool) -> None:
    assert agrees(printed, shown) is same
