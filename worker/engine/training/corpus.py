"""The pairs a run learns from: looked at once, bad ones named, split by picture, and written down for a resume."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from blipq.worker.engine.training.events import Event, Note, Progress, TrainingError
from blipq.worker.engine.training.plan import SPLIT_MINIMUM
from blipq.worker.engine.training.sources import Source

# A data set whose every row is bad must not flood the ledger; what goes beyond is counted.
NOTES_A_KIND = 1_000
CHUNK = 64


@dataclass(frozen=True)
class Photo:
    """A picture with its captions: where it lies, and the hash of its bytes, checked again at each read."""

    named: bool  # of the named validation split's table, else of the training split's
    row: int
    name: str
    sha256: str
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """What is learned from and what is held out; no picture is in both."""

    train: tuple[Photo, ...]
    validation: tuple[Photo, ...]

    def write(self, path: Path) -> None:
        """Write the list beside and rename it: a resume must find the very same pairs in the very same order."""
        aside = path.with_suffix(".partial")
        with aside.open("w", encoding="utf-8") as file:
            for part in ("train", "validation"):
                for photo in getattr(self, part):
                    file.write(json.dumps({"part": part, **asdict(photo)}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)

    @classmethod
    def read(cls, path: Path) -> Corpus:
        """Read what `write` wrote."""
        parts: dict[str, list[Photo]] = {"train": [], "validation": []}
        for line in path.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            part = values.pop("part")
            parts[part].append(Photo(**{**values, "captions": tuple(values["captions"])}))
        return cls(tuple(parts["train"]), tuple(parts["validation"]))


class Notes:
    """Passes on the first notes of each kind, and counts the rest."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def of(self, kind: str, message: str, name: str | None = None) -> list[Event]:
        """The note as an event, or nothing past the limit."""
        self.counts[kind] += 1
        return [Note(kind, message, name)] if self.counts[kind] <= NOTES_A_KIND else []

    def rest(self) -> list[Event]:
        """One event for each kind that went past the limit."""
        return [
            Note(kind, f"{count - NOTES_A_KIND:,} more: {kind}")
            for kind, count in self.counts.items()
            if count > NOTES_A_KIND
        ]


# What `gather` asks of a picture: its decoded pixels. ValueError: the reason why it is no picture.
Decode = Callable[[bytes], np.ndarray]
# Who may want the pixels later: whether the picture is of the named split, its row, its pixels.
Keep = Callable[[bool, int, np.ndarray], None]


def gather(
    train: Source,
    named: Source | None,
    share: float,
    seed: int,
    decode: Decode,
    threads: int,
    keep: Keep = lambda named, row, pixels: None,
) -> Generator[Event, None, Corpus]:
    """Read and decode every picture once; yields notes on bad pairs and progress, returns the split corpus.

    Two files with equal pixels are one picture: its captions are put together, and it is never on both sides. `keep`
    gets the pixels of each picture of the corpus, so that the run need not decode it again.

    Raises TrainingError: no pair is left.
    """
    notes = Notes()
    kept = yield from _look(train, False, decode, threads, notes, keep)
    held: dict[str, Photo] = {}
    if named is not None:
        held = yield from _look(named, True, decode, threads, notes, keep)
        for content in kept.keys() & held.keys():
            yield from notes.of("duplicate", "also in the validation split: not learned from", kept.pop(content).name)
    elif len(kept) < SPLIT_MINIMUM:
        yield Note(
            "no split",
            f"{len(kept)} pictures are too few to hold some out (fewer than {SPLIT_MINIMUM}): "
            "no validation, no early stop, the last checkpoint counts as the best",
        )
    elif share > 0:
        held = {content: kept.pop(content) for content in _draw(sorted(kept), share, seed)}
    else:
        yield Note("no split", "no validation set was asked for: no early stop, the last checkpoint counts as the best")
    yield from notes.rest()
    if not kept:
        bad = ", ".join(f"{count:,} {kind}" for kind, count in notes.counts.items()) or "it is empty"
        raise TrainingError("data", f"no picture with a caption is left to learn from ({bad}): mend the data")
    if named is not None and not held:
        raise TrainingError("data", "the named validation split holds no picture with a caption: name another")
    return Corpus(tuple(kept.values()), tuple(held.values()))


def _draw(contents: Sequence[str], share: float, seed: int) -> list[str]:
    """Choose the held-out pictures: seeded, whatever the order of the files; at least one, and one stays."""
    count = min(len(contents) - 1, max(1, round(share * len(contents))))
    chosen = np.random.default_rng(seed).permutation(len(contents))[:count]
    return [contents[index] for index in sorted(chosen)]


def _look(
    source: Source, named: bool, decode: Decode, threads: int, notes: Notes, keep: Keep
) -> Generator[Event, None, dict[str, Photo]]:
    """Look at each row; photos by the hash of their pixels, in the order of the rows."""

    def look(row: int) -> tuple[int, str, list[str], str, np.ndarray | None, str]:
        name, captions = source.name(row), source.captions(row)
        if not any(captions):
            return row, name, captions, "", None, ""
        try:
            data = source.read(row)
            pixels = decode(data)
        except (OSError, ValueError) as error:
            return row, name, captions, "", None, str(error) or type(error).__name__
        return row, name, captions, hashlib.sha256(data).hexdigest(), pixels, ""

    photos: dict[str, Photo] = {}
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(source), CHUNK):
            rows = range(start, min(start + CHUNK, len(source)))
            for row, name, captions, sha256, pixels, bad in pool.map(look, rows):
                if not all(captions) or not captions:
                    yield from notes.of("empty caption", "the caption is empty: left out", name)
                if bad:
                    yield from notes.of("bad picture", bad, name)
                if pixels is None:
                    continue
                content = hashlib.sha256(pixels.tobytes()).hexdigest()
                photo = Photo(named, row, name, sha256, tuple(dict.fromkeys(filter(None, captions))))
                if content in photos:
                    first = photos[content]
                    both = tuple(dict.fromkeys(first.captions + photo.captions))
                    if name != first.name:
                        yield from notes.of("duplicate", f"the same picture as {first.name}: taken as one", name)
                    photo = replace(first, captions=both)
                else:
                    keep(named, row, pixels)
                photos[content] = photo
            yield Progress("looking at the pictures", rows.stop, len(source))
    return photos
