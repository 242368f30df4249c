"""A run's checkpoint leaves its run: under a name, into a folder, to the Hub."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

from blipq.models import runs, training, weights
from blipq.models.database import Ledger
from blipq.models.weights import Weights
from blipq.producer import model_card
from blipq.producer.errors import UserError

_RUN = re.compile(r"^(?:run:)?(\d+)(?:@(\d+))?$")
_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*$")
_REPO = re.compile(r"^[\w.-]+(/[\w.-]+)?$")


def promote(ledger: Ledger, run: str, name: str) -> Weights:
    """Give a run's best checkpoint, or that of a step, a name.

    A copy of it (hard links, no bytes) is kept out of reach of the run's own tidying, so that the name holds for good.
    Raises UserError, UnknownModel, RunError.
    """
    if not _NAME.match(name) or name == "demo":
        raise UserError(f"--as {name}: takes letters, digits, dots and dashes, and not demo")
    run_id, model = _model(run)
    with ledger.write() as connection:
        training.lock(connection, run_id)
        found = weights.resolve(connection, model)
        assert found.folder is not None
        kept = training.kept_folder(found.folder, int(found.pinned.rpartition("@")[2]))
        if not kept.exists():
            _copy(found.folder, kept, link=True)
        training.promote(connection, name, model=found.pinned, weights=found.id)
    return found


def export(ledger: Ledger, run: str, folder: Path) -> Weights:
    """Write a run's model, processor and model card into a folder that plain `from_pretrained` loads.

    Raises UserError where the folder holds something already; UnknownModel, RunError.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} holds something already: name a new folder")
    run_id, model = _model(run)
    with ledger.write() as connection:
        found = weights.resolve(connection, model)
    assert found.folder is not None
    try:
        _copy(found.folder, folder, link=False)
        (folder / "README.md").write_text(_card(ledger, run_id, found, folder.name), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    return found


def push(ledger: Ledger, run: str, repository: str, *, public: bool) -> str:
    """Upload a run's model, processor and model card to the Hub; the address.

    Raises UserError: not logged in, no rights, no network, or a public repository without `public`.
    """
    if not _REPO.match(repository):
        raise UserError(f"{repository}: a Hub repository is named OWNER/NAME")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    hub = HfApi()
    with tempfile.TemporaryDirectory(prefix="blipq-push-") as scratch:
        folder = Path(scratch) / repository.rpartition("/")[2]
        export(ledger, run, folder)
        try:
            address = hub.create_repo(repository, private=not public, exist_ok=True)
            if not public and not hub.model_info(address.repo_id).private:
                raise UserError(f"{address.repo_id} is public already: --public says that this is meant")
            hub.upload_folder(
                folder_path=folder, repo_id=address.repo_id, commit_message=f"Fine-tuned with blipq, {run}"
            )
        except LocalTokenNotFoundError:
            raise UserError("the Hub does not know you here: `hf auth login`, or set HF_TOKEN") from None
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else None
            if status in (401, 403):
                raise UserError(
                    f"the Hub lets you not write to {repository} ({status}): `hf auth login` with a token that may"
                ) from None
            raise UserError(f"the Hub refused {repository}: {_line(error)}") from None
        except UserError:
            raise
        except Exception as error:  # the system's errors, and those of the Hub's client, httpx's or httpx2's
            raise UserError(f"the Hub cannot be reached ({_line(error)}): nothing was pushed, try again") from None
    return str(address)


def _model(run: str) -> tuple[int, str]:
    parts = _RUN.match(run)
    if parts is None:
        raise UserError(f"{run} is no run: give its number (`blipq runs` lists them), or run:3@1200 for a step")
    return int(parts[1]), f"run:{parts[1]}{f'@{parts[2]}' if parts[2] else ''}"


def _copy(source: Path, target: Path, *, link: bool) -> None:
    """The files that `from_pretrained` wants; aside first, so that a copy is whole or not there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")  # ours alone: what lies there stays
    aside.mkdir()
    try:
        for file in source.iterdir():
            if file.is_file() and file.name != weights.RESUME:
                if link:
                    os.link(file, aside / file.name)
                else:
                    shutil.copyfile(file, aside / file.name)
        if target.exists():
            target.rmdir()  # an empty folder that the person made
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _card(ledger: Ledger, run_id: int, found: Weights, name: str) -> str:
    with ledger.read() as connection:
        return model_card.write(
            name,
            found,
            runs.status(connection, run_id),
            training.read(connection, run_id=run_id),
            runs.evaluations(connection, run_id),
        )


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
