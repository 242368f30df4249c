"""Picture features of a frozen vision tower: computed once, kept on disk, mapped into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from blipq.worker.engine.training.corpus import Photo
from blipq.worker.engine.training.events import Event, Note, Progress, TrainingError
from blipq.worker.engine.training.network import Network, Precision, inference
from blipq.worker.engine.training.pictures import Pictures, ahead
from blipq.worker.engine.training.ranks import Ranks

# All features of a cache folder together; 10 GB are 11,283 pictures of BLIP-base (886 KB each, 577 x 768 in fp16).
LIMIT = 10_000_000_000
CHUNK = 8


class Features:
    """A row of fp16 features a photo, in one flat file that grows chunk by chunk, in any order, by any process.

    A byte a chunk beside it says what is complete, so a killed run loses one chunk at most. Two runs that fill the same
    file write the same bytes; a file that is deleted stays readable for who has it open.
    """

    def __init__(self, folder: Path, network: Network, photos: Sequence[Photo], precision: Precision) -> None:
        self.photos = photos
        vision = network.model.config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        self.shape = (len(photos), patches + 1, vision.hidden_size)
        self.bytes = int(np.prod(self.shape)) * 2
        self._network, self._precision = network, precision
        self._path = folder / f"features-{_key(network, photos, precision)}.f16"
        self._marks = self._path.with_suffix(".done")

    @property
    def fits(self) -> bool:
        """Whether the limit allows to keep them."""
        return self.bytes <= LIMIT

    def fill(
        self, pictures: Pictures, pool: ThreadPoolExecutor, threads: int, ranks: Ranks
    ) -> Generator[Event, None, None]:
        """Compute what is missing, shared between the processes; yields progress.

        Raises TrainingError: the disk is full, or the features are too large for fp16.
        """
        chunks = -(-len(self.photos) // CHUNK)
        if ranks.first:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._make_room()
            for path, size in ((self._path, self.bytes), (self._marks, chunks)):
                with path.open("ab") as file:
                    file.truncate(size)
            yield Note("features", f"{self.bytes / 1e6:,.1f} MB of picture features for {len(self.photos):,} pictures")
        ranks.wait()
        marks = np.memmap(self._marks, dtype=np.uint8, mode="r+")
        mine = [chunk for chunk in range(ranks.index, chunks, ranks.count) if not marks[chunk]]

        def load(chunk: int) -> torch.Tensor:
            rows = self.photos[chunk * CHUNK : (chunk + 1) * CHUNK]
            return torch.from_numpy(np.stack([pictures.pixels(photo) for photo in rows]))

        rows = np.memmap(self._path, dtype=np.float16, mode="r+", shape=self.shape)
        for done, (chunk, pixels) in enumerate(ahead(pool, load, mine, threads), 1):
            with inference(self._network), self._precision.context():
                features = self._network.features(pixels).half().cpu()
            if not torch.isfinite(features).all():
                raise TrainingError(
                    "data", "this base model's picture features overflow fp16: train with --freeze none"
                )
            rows[chunk * CHUNK : chunk * CHUNK + len(features)] = features.numpy()
            rows.flush()  # to the disk, before the mark says so
            marks[chunk] = 1
            yield Progress("picture features", done, len(mine))
        ranks.wait()
        self._rows = np.memmap(self._path, dtype=np.float16, mode="r", shape=self.shape)

    def read(self, photos: Sequence[int]) -> torch.Tensor:
        """Features of photos by their place in the list: fp16, (photos, positions, width), copied out of the file."""
        return torch.from_numpy(self._rows[list(photos)])

    def _make_room(self) -> None:
        """Delete the oldest features of other runs past the limit."""
        others = [path for path in self._path.parent.glob("features-*.f16") if path != self._path]
        taken = self.bytes + sum(path.stat().st_size for path in others)
        for path in sorted(others, key=lambda path: path.stat().st_mtime):
            if taken <= LIMIT:
                return
            taken -= path.stat().st_size
            path.with_suffix(".done").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _key(network: Network, photos: Sequence[Photo], precision: Precision) -> str:
    """Weights, size, arithmetic and pictures in their order: runs that agree on them share one file."""
    digest = hashlib.sha256(f"{precision.name} {network.size}".encode())
    for name, weight in sorted(network.model.vision_model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    for photo in photos:
        digest.update(bytes.fromhex(photo.sha256))
    return digest.hexdigest()[:32]
