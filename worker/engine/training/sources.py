"""Pictures and captions from a Hub dataset, a folder, Parquet, CSV or JSON lines, all as `datasets` tables."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blipq.worker.engine.training.events import TrainingError

if TYPE_CHECKING:
    import datasets

PICTURE_COLUMNS = ("image", "picture", "photo", "img", "file_name", "filename", "path", "image_path", "file")
CAPTION_COLUMNS = ("text", "caption", "captions", "texts", "sentences", "description")
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"}
READERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")

# Seconds that the Hub gets to answer; a resolver without a network alone may take 10 s and more.
HUB_SECONDS = 8.0

_log = logging.getLogger("blipq.training")


@dataclass(frozen=True)
class Source:
    """One split: row numbers in, names, captions and coded pictures out."""

    table: datasets.Dataset
    folder: Path | None  # what relative paths start from; None: no path is followed (a Hub dataset)
    picture_column: str
    caption_column: str

    def __len__(self) -> int:
        return len(self.table)

    def captions(self, row: int) -> list[str]:
        """The captions of a row, white space collapsed; empty ones are left in, as empty texts."""
        value = self.table[row][self.caption_column]
        texts = value if isinstance(value, list) else [value]
        return [" ".join(str(text).split()) if text is not None else "" for text in texts]

    def name(self, row: int) -> str:
        """What a person calls the picture: its path, or its row."""
        value = self.table[row][self.picture_column]
        path = value.get("path") if isinstance(value, Mapping) else value
        return path if isinstance(path, str) and path else f"row {row}"

    def read(self, row: int) -> bytes:
        """The coded picture.

        Raises OSError: the file is missing or cannot be read, or the row holds no picture.
        """
        value = self.table[row][self.picture_column]
        if isinstance(value, Mapping):
            if value.get("bytes"):
                return bytes(value["bytes"])
            value = value.get("path")
        if isinstance(value, bytes):
            return value
        if not value:
            raise OSError("the row holds no picture")
        path = Path(value)
        return (path if self.folder is None or path.is_absolute() else self.folder / path).read_bytes()


def open_data(
    data: str, split: str, validation: str | None, picture_column: str | None, caption_column: str | None, scratch: Path
) -> tuple[Source, Source | None]:
    """Open the split to learn from, and the one to validate on where it is named.

    `scratch` is a folder for the tables that `datasets` makes of local files.

    Raises TrainingError: nothing is there, it cannot be reached, a split or a column does not exist.
    """
    import datasets

    datasets.disable_progress_bars()
    path = Path(data).expanduser()
    local = path.exists()
    tables, folder = _local(path.absolute(), scratch) if local else (_hub(data), None)
    wanted = [split if split in tables or len(tables) > 1 else next(iter(tables))]
    wanted += [validation] if validation else []
    for name in wanted:
        if name not in tables:
            raise TrainingError(
                "data", f"{data} has no split {name}: it has {', '.join(tables)} (--split, --validation)"
            )
    opened = [_columns(data, tables[name], folder, picture_column, caption_column) for name in wanted]
    return opened[0], opened[1] if validation else None


def _local(path: Path, scratch: Path) -> tuple[Mapping[str, datasets.Dataset], Path]:
    if path.is_file():
        if path.suffix.lower() not in READERS:
            raise TrainingError("data", f"{path} is no data set: give a folder, .jsonl, .csv or .parquet")
        return {"train": _read(path, scratch)}, path.parent
    for name in METADATA:
        if (path / name).is_file():
            return {"train": _read(path / name, scratch)}, path
    tables = {
        part.name: _rebase(_read(part / name, scratch), part.name)
        for part in sorted(path.iterdir())
        if part.is_dir()
        for name in METADATA
        if (part / name).is_file()
    }
    if tables:
        return tables, path
    if any(path.rglob("*.parquet")):
        return _load(path, "parquet", data_dir=str(path), cache_dir=str(scratch)), path
    return {"train": _sidecars(path)}, path


def _read(path: Path, scratch: Path) -> datasets.Dataset:
    reader = READERS[path.suffix.lower()]
    return _load(path, reader, data_files={"train": str(path)}, cache_dir=str(scratch))["train"]


def _load(named: object, *args: Any, **options: Any) -> Any:
    import datasets

    try:
        return datasets.load_dataset(*args, **options)
    except Exception as error:  # the readers raise whatever their parser does: pyarrow, pandas, json
        cause = error.__cause__ or error
        first = (str(cause).strip() or type(cause).__name__).splitlines()[0][:300]
        raise TrainingError("data", f"{named} cannot be read: {first}") from None


def _rebase(table: datasets.Dataset, part: str) -> datasets.Dataset:
    """Make the paths of a split's own folder relative to the folder above it."""
    column = _found(table, PICTURE_COLUMNS)
    return table.map(lambda row: {column: f"{part}/{row[column]}"}) if column else table


def _sidecars(path: Path) -> datasets.Dataset:
    import datasets

    photos = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES and file.is_file())
    texts = [_text_of(photo) for photo in photos]
    if not any(texts):
        raise TrainingError(
            "data",
            f"{path} holds no captions: it needs metadata.jsonl, metadata.csv, .parquet, or photo.txt beside photo.jpg",
        )
    rows: dict[str, list[str]] = {"file_name": [], "text": []}
    for photo, text in zip(photos, texts, strict=True):
        rows["file_name"].append(str(photo.relative_to(path)))
        rows["text"].append(text.read_text("utf-8", "replace") if text is not None else "")
    return datasets.Dataset.from_dict(rows)


def _text_of(photo: Path) -> Path | None:
    """`1.png.txt`, which is 1.png's alone, before `1.txt`, which may be of a 1.jpg too."""
    named = (photo.with_name(f"{photo.name}.txt"), photo.with_suffix(".txt"))
    return next((text for text in named if text.is_file()), None)


def _hub(data: str) -> Mapping[str, datasets.Dataset]:
    """A dataset of the Hub, or of the cache of an earlier download when the Hub does not answer."""
    import datasets
    import huggingface_hub

    name, _, revision = data.partition("@")
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise TrainingError("data", f"{data} does not exist: give a folder, a file, or a Hub dataset as owner/name")
    _log.info("asks the Hub for %s", data)
    hub = huggingface_hub.HfApi()
    error = _within(lambda: hub.dataset_info(name, revision=revision or None, timeout=HUB_SECONDS - 1))
    if error is not None:
        # `datasets` looks at this flag at each call, and answers from its cache alone where it is set.
        datasets.config.HF_HUB_OFFLINE = True
    try:
        loaded = datasets.load_dataset(name, revision=revision or None)
    except Exception as failure:
        reason = error or failure
        first = (str(reason).strip() or type(reason).__name__).splitlines()[0][:160]
        raise TrainingError(
            "data",
            f"dataset {data} cannot be reached ({type(reason).__name__}: {first}): give a folder of photos with "
            "captions, or download it where there is a network and copy HF_HOME here",
        ) from None
    return {str(split): table for split, table in loaded.items()}


def _within(call: Callable[[], object]) -> BaseException | None:
    """Run a call for at most `HUB_SECONDS`; what went wrong, or None. One that hangs is left behind in its thread."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
            raised.append(None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    return raised[0] if raised else TimeoutError(f"no answer within {HUB_SECONDS:.0f} s")


def _columns(
    data: str, table: datasets.Dataset, folder: Path | None, picture_column: str | None, caption_column: str | None
) -> Source:
    import datasets

    pictured = [name for name, kind in table.features.items() if isinstance(kind, datasets.Image)]
    known = [name for name in PICTURE_COLUMNS if folder is not None or name in pictured]
    picture = picture_column or (pictured[0] if pictured else _found(table, known))
    caption = caption_column or _found(table, CAPTION_COLUMNS)
    for what, flag, name in (("pictures", "--image-column", picture), ("captions", "--text-column", caption)):
        if name is None or name not in table.features:
            called = f"no column {name}" if name else f"no column that looks like {what}"
            raise TrainingError("data", f"{data} has {called}: name one of {', '.join(table.features)} by {flag}")
    assert picture is not None
    assert caption is not None
    if folder is None and picture not in pictured:
        # A stranger's table must not name files of this machine.
        raise TrainingError("data", f"column {picture} of {data} holds no pictures: name another by --image-column")
    kind = table.features[caption]
    inner = getattr(kind, "feature", kind)
    if getattr(inner, "dtype", None) not in ("string", "large_string", "null"):
        raise TrainingError("data", f"column {caption} of {data} holds no text: name another by --text-column")
    if picture in pictured:
        table = table.cast_column(picture, datasets.Image(decode=False))
    return Source(table.select_columns([picture, caption]), folder, picture, caption)


def _found(table: datasets.Dataset, names: tuple[str, ...] | list[str]) -> str | None:
    return next((name for name in names if name in table.features), None)
