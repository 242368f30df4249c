"""The bundled checkpoint: small, plain, and as good as docs/demo.md says."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from safetensors import safe_open

from blipq.demo.scenes import draw

HELD_OUT_SEED = 20_000_000  # other pictures than those that the training looked at


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def captioned(checkpoint, domain: str, count: int) -> list[tuple[str, str]]:
    """Pairs of truth and caption for held-out pictures, by Hugging Face's own greedy `generate`."""
    model, processor = checkpoint
    pairs = []
    for start in range(0, count, 50):
        scenes = [draw(domain, HELD_OUT_SEED + k, held_out=True) for k in range(start, min(start + 50, count))]
        pixels = processor(images=[scene.image for scene in scenes], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            ids = model.generate(pixel_values=pixels, max_new_tokens=30)
        texts = processor.batch_decode(ids, skip_special_tokens=True)
        pairs += [(scene.caption, text) for scene, text in zip(scenes, texts, strict=True)]
    return pairs


def bleu_4(pairs: list[tuple[str, str]]) -> float:
    """Corpus BLEU-4 with one reference a picture (Papineni et al. 2002)."""
    logs, spoken, true = 0.0, 0, 0
    for n in range(1, 5):
        matches = total = 0
        for truth, text in pairs:
            ours, theirs = (
                Counter(zip(*(words[k:] for k in range(n)), strict=False)) for words in (text.split(), truth.split())
            )
            matches += (ours & theirs).total()
            total += ours.total()
        logs += math.log(max(matches, 1e-9) / total) / 4
    spoken, true = (sum(len(pair[side].split()) for pair in pairs) for side in (1, 0))
    return math.exp(logs + min(0.0, 1 - true / spoken))


def test_it_is_small_and_its_weights_are_fp16_on_disk(checkpoint_folder):
    assert sum(file.stat().st_size for file in checkpoint_folder.iterdir()) <= 8_000_000
    with safe_open(checkpoint_folder / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float16}  # noqa: SIM118


def test_plain_transformers_loads_it_in_fp32_with_the_pil_processor(checkpoint):
    model, processor = checkpoint

    assert model.dtype == torch.float32
    assert model.config.text_config.bos_token_id == len(processor.tokenizer)
    assert model.config.text_config.sep_token_id == processor.tokenizer.sep_token_id
    assert processor.image_processor.size == {"height": 96, "width": 96}


def test_it_captions_held_out_scenes_word_for_word(checkpoint):
    pairs = captioned(checkpoint, "scenes", 200)

    assert sum(truth == text for truth, text in pairs) >= 190


def test_its_vocabulary_holds_every_word_of_both_domains(checkpoint, captions_of):
    _, processor = checkpoint
    vocabulary = processor.tokenizer.get_vocab()
    spoken = {
        word
        for domain in ("scenes", "football")
        for held_out in (False, True)
        for caption in captions_of(domain, 2000, held_out=held_out)
        for word in caption.split()
    }

    assert spoken <= set(vocabulary)
    assert "[UNK]" not in processor.tokenizer.tokenize("zebras, 4 o'clock!")


def test_it_knows_nothing_of_football(checkpoint):
    assert bleu_4(captioned(checkpoint, "football", 100)) < 0.2
