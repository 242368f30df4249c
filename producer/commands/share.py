"""`blipq export-model` and `blipq push`: a fine-tuned model leaves the house."""

from __future__ import annotations

from pathlib import Path

import click

from blipq.producer.output import emit_json


@click.command(name="export-model")
@click.argument("run")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def export_model(run: str, folder: Path, as_json: bool) -> None:
    """Write the best checkpoint of RUN (3, or run:3@1200 for a step) into FOLDER, with a model card.

    Plain `BlipForConditionalGeneration.from_pretrained` and `BlipProcessor.from_pretrained` load it.

    \b
    blipq export-model 3 ./football
    """
    from blipq import settings
    from blipq.producer.ledger import open_ready
    from blipq.producer.share import export

    found = export(open_ready(settings.load()), run, folder)
    if as_json:
        emit_json({"model": found.pinned, "weights": found.id, "folder": str(folder.absolute())})
    else:
        click.echo(f"{found.pinned} is in {folder}")


@click.command()
@click.argument("run")
@click.argument("repository")
@click.option("--public", is_flag=True, help="For everybody to see; private if not given.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def push(run: str, repository: str, public: bool, as_json: bool) -> None:
    """Upload the best checkpoint of RUN to the Hub as REPOSITORY (OWNER/NAME), with a model card. Private if new.

    The only command that sends anything away: the model, its processor and the card, never a picture or a caption.

    \b
    blipq push 3 me/football
    """
    from blipq import settings
    from blipq.producer.ledger import open_ready
    from blipq.producer.share import push as upload

    address = upload(open_ready(settings.load()), run, repository, public=public)
    if as_json:
        emit_json({"repository": repository, "address": address, "public": public})
    else:
        click.echo(f"pushed to {address}")
