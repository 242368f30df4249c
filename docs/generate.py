"""Write the two pages that the source says itself: `docs/cli.md` from the commands, `docs/settings.md` from `Settings`.

python docs/generate.py            # write them
python docs/generate.py --check    # exit 1 where one is out of date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, get_args

import click
from pydantic_core import PydanticUndefined

from blipq.producer.cli import COMMANDS, SUMMARIES, cli
from blipq.settings import Settings, variable

DOCS = Path(__file__).parent
GENERATED = "<!-- made by docs/generate.py -->\n"


def commands() -> str:
    """Every command with its help, as `blipq COMMAND --help` prints it."""
    parts = [
        f"{GENERATED}\n# Commands\n",
        "Each command's text is what `blipq COMMAND --help` prints. stdout carries the answer, stderr the progress; "
        "with `NO_COLOR`, and where stdout is no terminal, nothing is coloured.\n",
        "| exit status | means |\n|---|---|\n"
        "| 0 | all is well |\n"
        "| 1 | done, but some photos failed or could not be served: they are listed |\n"
        "| 2 | a usage or set-up error, in one line: what is wrong, what to do |\n"
        "| 130 | Ctrl-C |\n",
        "| command | |\n|---|---|\n"
        + "".join(f"| [`blipq {name}`](#blipq-{name}) | {SUMMARIES[name]} |\n" for name in COMMANDS),
    ]
    with click.Context(cli, info_name="blipq", max_content_width=100, terminal_width=100) as context:
        for name in COMMANDS:
            command = cli.get_command(context, name)
            assert command is not None
            parts.append(_section(command, name, context, "##"))
    return "\n".join(parts)


def settings() -> str:
    """Every setting with its default and what it sets."""
    rows = []
    for name, field in Settings.model_fields.items():
        if field.default is PydanticUndefined:
            default = "`~/.local/share/blipq`; on macOS `~/Library/Application Support/blipq`"
        else:
            default = _shown(field.default)
        rows.append(f"| `{variable(name)}` | {_kind(field.annotation)} | {default} | {field.description} |\n")
    return (
        f"{GENERATED}\n# Settings\n\n"
        "All settings are environment variables, read once by each process; an empty one counts as not set. A wrong "
        "value is refused in a line that names the variable. Unset, everything is embedded: a SQLite file and a Valkey "
        "of our own in `$BLIPQ_HOME`, and no port is open.\n\n"
        "| variable | takes | default | sets |\n|---|---|---|---|\n" + "".join(rows) + "\n"
        "Hugging Face's own variables hold too: `HF_HOME` (where models are kept), `HF_HUB_OFFLINE`, `HF_TOKEN`.\n"
    )


def _section(command: click.Command, name: str, context: click.Context, mark: str) -> str:
    with click.Context(command, info_name=name, parent=context, max_content_width=100, terminal_width=100) as own:
        text = command.get_help(own)
        section = f"{mark} blipq {name}\n\n```text\n{text.rstrip()}\n```\n"
        if isinstance(command, click.Group):
            for inner in command.list_commands(own):
                found = command.get_command(own, inner)
                assert found is not None
                section += "\n" + _section(found, inner, own, mark + "#").replace(
                    f"{mark}# blipq {inner}", f"{mark}# blipq {name} {inner}"
                )
        return section


def _kind(annotation: Any) -> str:
    text = str(annotation)
    if choices := [str(choice) for choice in get_args(annotation) if isinstance(choice, str)]:
        return ", ".join(f"`{choice}`" for choice in choices)
    kinds = {"bool": "`true` or `false`", "int": "whole number", "float": "number", "tuple": "paths", "Path": "path"}
    return next((said for word, said in kinds.items() if re.search(rf"\b{word}\b", text)), "text")


def _shown(default: Any) -> str:
    if default is None or default == ():
        return "unset"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"{default:,}" if isinstance(default, int | float) else f"`{default}`"


PAGES = {"cli.md": commands, "settings.md": settings}


def main() -> None:
    stale = []
    for name, write in PAGES.items():
        path, text = DOCS / name, write()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"out of date: {', '.join(stale)} (python docs/generate.py)")


if __name__ == "__main__":
    main()
