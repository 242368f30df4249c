"""Captions without their pictures, and the checkpoint, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

import blipq.demo
from blipq.demo.scenes import caption


@pytest.fixture(scope="session")
def captions_of():
    def captions(domain: str, count: int, *, held_out: bool) -> list[str]:
        return [caption(domain, seed, held_out=held_out) for seed in range(count)]

    return captions


@pytest.fixture(scope="session")
def checkpoint_folder() -> Path:
    return Path(blipq.demo.__file__).parent / "checkpoint"


@pytest.fixture(scope="session")
def checkpoint(checkpoint_folder):
    from transformers import BlipForConditionalGeneration, BlipProcessor

    model = BlipForConditionalGeneration.from_pretrained(checkpoint_folder).eval()
    return model, BlipProcessor.from_pretrained(checkpoint_folder)
