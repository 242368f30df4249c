from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from blipq.worker.engine.training import features as module
from blipq.worker.engine.training.corpus import Photo
from blipq.worker.engine.training.events import Note, Progress
from blipq.worker.engine.training.features import Features
from blipq.worker.engine.training.network import Network, Precision
from blipq.worker.engine.training.ranks import Ranks

CPU = Precision("fp32", torch.device("cpu"))


class Drawn:
    """Pictures that need no file: pixels by the row's number."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def pixels(self, photo: Photo) -> np.ndarray:
        self.asked.append(photo.row)
        return np.random.default_rng(photo.row).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network(tiny_blip):
    return Network.load(tiny_blip)


def photos(count: int) -> list[Photo]:
    return [Photo(False, row, f"{row}.png", f"{row:064x}", ("a",)) for row in range(count)]


def fill(kept: Features, drawn: Drawn, chunks: int | None = None) -> list:
    events = []
    with ThreadPoolExecutor(1) as pool:
        filling = kept.fill(drawn, pool, 1, Ranks(("cpu",)))
        for event in filling:
            events.append(event)
            if chunks is not None and sum(isinstance(one, Progress) for one in events) == chunks:
                filling.close()
                break
    return events


def test_kept_features_are_those_of_the_tower(network, tmp_path):
    kept, drawn = Features(tmp_path, network, photos(20), CPU), Drawn()
    events = fill(kept, drawn)
    assert [event.message for event in events if isinstance(event, Note)] == [
        "0.0 MB of picture features for 20 pictures"
    ]
    got = kept.read([19, 3, 3])
    network.model.eval()
    with torch.no_grad():
        wanted = network.features(torch.from_numpy(np.stack([drawn.pixels(photos(20)[row]) for row in (19, 3, 3)])))
    assert got.dtype == torch.float16
    assert torch.allclose(got.float(), wanted, atol=2e-3)


def test_a_fill_that_was_cut_off_goes_on_where_it_was(network, tmp_path):
    # Given two of three chunks of eight
    fill(Features(tmp_path, network, photos(24), CPU), Drawn(), chunks=2)
    # When another run of the same pictures comes
    drawn, kept = Drawn(), Features(tmp_path, network, photos(24), CPU)
    fill(kept, drawn)
    # Then the last one alone is computed
    assert sorted(drawn.asked) == list(range(16, 24))
    assert kept.read(range(24)).isfinite().all()


def test_other_weights_pictures_or_arithmetic_get_a_file_of_their_own(tiny_blip, network, tmp_path):
    changed = Network.load(tiny_blip)
    changed.model.vision_model.post_layernorm.bias.data += 1
    for kept in (
        Features(tmp_path, network, photos(8), CPU),
        Features(tmp_path, network, photos(9), CPU),
        Features(tmp_path, changed, photos(8), CPU),
        Features(tmp_path, network, photos(8), Precision("bf16", torch.device("cpu"))),
    ):
        fill(kept, Drawn())
    assert len(list(tmp_path.glob("*.f16"))) == 4


def test_the_oldest_features_make_room(network, tmp_path):
    # Given ones of another run that would be 10 GB together with ours
    old = tmp_path / "features-old.f16"
    with old.open("wb") as file:
        file.truncate(module.LIMIT)  # sparse: it takes no room
    old.with_suffix(".done").touch()
    fill(Features(tmp_path, network, photos(8), CPU), Drawn())
    assert not old.exists()
    assert not old.with_suffix(".done").exists()


def test_more_than_the_limit_is_not_kept(network, tmp_path):
    assert Features(tmp_path, network, photos(8), CPU).fits
    million = Features(tmp_path, network, photos(8), CPU)
    million.bytes = module.LIMIT + 1
    assert not million.fits
