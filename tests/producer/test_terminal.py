"""Tables on a terminal: words stay readable at 80 columns, whatever else has to give way."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest


def printed(*words: str, home: Path, columns: int) -> list[str]:
    """What a command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    env |= {"BLIPQ_HOME": str(home), "TERM": "xterm"}
    command = [Path(sys.executable).with_name("blipq"), *words]
    with subprocess.Popen(command, env=env, stdout=theirs) as running:
        os.close(theirs)
        data = b""
        while True:
            try:
                data += (more := os.read(ours, 65536))
            except OSError:  # the other end is closed
                break
            if not more:
                break
        assert running.wait(30) == 0
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", data.decode()).splitlines()


@pytest.mark.parametrize(
    ("columns", "shown"),
    [(80, "path caption flag"), (200, "path caption score flag model source created_at")],
)
def test_columns_give_way_before_words_are_squeezed(library: Any, home: Path, columns: int, shown: str) -> None:
    for name in ("one", "two"):
        path = library.photo(f"a-folder-with-a-name/and-one-more/{name}.jpg")
        library.caption(path, f"{name} brown dogs run along the edge of a lake in autumn", flag="repeated,cut")
    lines = printed("results", home=home, columns=columns)
    assert lines[0].split() == shown.split()
    assert max(map(len, lines)) <= columns
    start = lines[0].index("caption")
    said = " ".join(line[start : lines[0].index("score" if columns > 80 else "flag")].strip() for line in lines[2:])
    for name in ("one", "two"):
        assert f"{name} brown dogs run along the edge of a lake in autumn" in " ".join(said.split())


def test_two_captions_beside_each_other_share_what_room_there_is(library: Any, home: Path) -> None:
    library.caption(library.photo("a-folder-with-a-name/and-one-more/one.jpg"), "a picture of a dog and another dog")
    lines = printed("edit", "--strip", "a picture of ", "--dry-run", home=home, columns=80)
    assert lines[0].split() == ["path", "before", "after"]
    assert max(map(len, lines)) <= 80
