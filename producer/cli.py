"""The command line: each command lives in a module of its own and is imported when it is run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from keyword import iskeyword
from typing import Any

import click

from blipq import __version__

# command -> module in blipq.producer.commands; the order is that of the help page
COMMANDS = {
    "enqueue": "enqueue",
    "train": "train",
    "status": "status",
    "results": "results",
    "sql": "sql",
    "export": "export",
    "edit": "edit",
    "import": "import_",
    "cancel": "control",
    "retry": "control",
    "pause": "control",
    "resume": "control",
    "watch": "watch",
    "up": "up",
    "down": "up",
    "worker": "up",
    "runs": "runs",
    "promote": "runs",
    "evaluate": "evaluate",
    "compare": "compare",
    "plot": "plot",
    "show": "plot",
    "export-model": "share",
    "push": "share",
    "serve": "serve",
    "models": "models",
    "doctor": "doctor",
    "forget": "forget",
    "gc": "forget",
    "bench": "bench",
    "db": "db",
    "demo": "demo",
}


class Commands(click.Group):
    """A group whose commands are imported one by one, so that `blipq --help` takes no half second."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order in which a person meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"blipq.producer.commands.{COMMANDS[cmd_name]}")
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(module, f"{name}_" if iskeyword(name) else name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess at what was meant."""
        if args and args[0] not in COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, 1)
            if near:
                ctx.fail(f"no command {args[0]}: did you mean `blipq {near[0]}`?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands from one table, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in COMMANDS])


SUMMARIES = {
    "enqueue": "Queue photos for captions.",
    "train": "Queue fine-tuning on photos with captions.",
    "status": "Show jobs, queues and workers.",
    "results": "Print captions, or a job's failures.",
    "sql": "Run a query on the ledger, read-only.",
    "edit": "Change captions in bulk, or take a change back.",
    "import": "Take in captions that people wrote.",
    "export": "Write captions into files, photos, tables, data sets, pages.",
    "cancel": "Take back what a job has left to do.",
    "retry": "Queue a job's failed photos again.",
    "pause": "Hand out no more work of a queue.",
    "resume": "Go on after a pause.",
    "watch": "Caption what is new in folders, as it comes.",
    "up": "Keep the local daemon in the foreground or behind.",
    "down": "Stop the local daemon.",
    "worker": "Keep workers of this host for a shared Redis.",
    "runs": "Rank training runs, or show one.",
    "promote": "Give a run's best checkpoint a name.",
    "evaluate": "Score captions of models side by side.",
    "compare": "Show which captions changed between two jobs.",
    "plot": "Draw a run's losses and metrics.",
    "show": "Draw photos with their captions.",
    "export-model": "Write a run's model into a folder.",
    "push": "Upload a run's model to the Hub.",
    "serve": "Serve pages and the HTTP API.",
    "models": "List models, or describe one.",
    "doctor": "Check what blipq needs, and say what to do.",
    "forget": "Forget a photo, a folder or a job.",
    "gc": "Collect what nothing leads to any more.",
    "bench": "Measure captioning, decoding, queue or training.",
    "db": "Migrate the database, or show its version.",
    "demo": "Caption two dozen drawn scenes, start to end.",
}


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="blipq")
def cli() -> None:
    """Captions for folders of photos: a queue in front of BLIP, and a SQL database behind it.

    \b
    blipq enqueue ./photos --wait
    blipq results
    blipq sql "select path, caption from results limit 10"
    """


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run a command. Errors of use and set-up are one line on stderr and exit status 2."""
    from blipq.producer.errors import one_line

    try:
        return cli.main(args=list(arguments) if arguments is not None else None, prog_name="blipq")
    except Exception as error:
        said = one_line(error)
        if said is None:
            raise
        click.echo(f"Error: {said}", err=True)
        sys.exit(2)
