"""Which folders open, which are refused and how, and that a pickle is never run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from blipq.worker.engine import weights
from blipq.worker.engine.captioner import Decoding, NotACaptioner, open_captioner


def as_bin(folder: Path, shards: int = 1) -> Path:
    """Turn a checkpoint into a `.bin` one as older transformers wrote it: tied weights under both names."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    head = "text_decoder.cls.predictions"
    state[f"{head}.decoder.weight"] = state["text_decoder.bert.embeddings.word_embeddings.weight"]
    state[f"{head}.decoder.bias"] = state[f"{head}.bias"]
    names = sorted(state)
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return folder
    files = [f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin" for number in range(shards)]
    for number, file in enumerate(files):
        torch.save({name: state[name] for name in names[number::shards]}, folder / file)
    placed = {name: files[place % shards] for place, name in enumerate(names)}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return folder


def test_a_saved_checkpoint_opens_and_writes_what_the_model_in_memory_writes(tiny: Any, folder: Path) -> None:
    opened = open_captioner(str(folder), "cpu", "fp32")
    assert (opened.device, opened.precision, opened.parameters) == ("cpu", "fp32", tiny.model.num_parameters())
    assert opened.preprocessing.version.startswith("pil-1 32x32 bicubic 0.48145,")
    pixels = tiny.pictures(3)
    words = opened.caption(pixels, ["", "a photo", ""], Decoding(), [0, 0, 0])
    assert words == tiny.captioner.caption(pixels, ["", "a photo", ""], Decoding(), [0, 0, 0])


def test_pixels_are_normalised_as_the_processor_says(tiny: Any, folder: Path) -> None:
    path = folder / "processor_config.json"
    before = tiny.captioner._vision(torch.from_numpy(tiny.pictures(1)))
    config = json.loads(path.read_text())
    # Twice the factor with twice the mean and deviation is the same picture
    shape = config["image_processor"]
    shape["rescale_factor"] = 2 / 255
    shape["image_mean"], shape["image_std"] = (
        [2 * value for value in shape[key]] for key in ("image_mean", "image_std")
    )
    path.write_text(json.dumps(config))
    with torch.inference_mode():
        same = open_captioner(str(folder), "cpu", "fp32")._vision(torch.from_numpy(tiny.pictures(1)))
        shape["do_normalize"] = False
        path.write_text(json.dumps(config))
        other = open_captioner(str(folder), "cpu", "fp32")._vision(torch.from_numpy(tiny.pictures(1)))
    assert torch.allclose(before, same, atol=1e-4)
    assert not torch.allclose(before, other, atol=1e-1)


@pytest.mark.parametrize("shards", [1, 3])
def test_bin_weights_are_converted_once_and_open(tiny: Any, folder: Path, tmp_path: Path, shards: int) -> None:
    as_bin(folder, shards)
    assert weights.needs_conversion(folder)
    with pytest.raises(NotACaptioner, match=r"no safetensors in it \(pytorch_model"):
        open_captioner(str(folder), "cpu", "fp32")
    said: list[tuple[str, int, int]] = []
    target = weights.convert(folder, tmp_path / "converted" / "abc", lambda *step: said.append(step))
    assert said[0][1] == 0
    assert said[-1][1] == said[-1][2] > 100_000
    assert "MB to safetensors" in said[0][0]
    assert [said[0][0]] * (shards + 1) == [text for text, _, _ in said]
    if shards == 1:  # in one file, tied weights are one storage: kept once
        assert not any("predictions.decoder" in name for name in load_file(target / "model.safetensors"))
    assert not list(target.parent.glob("*.making"))
    pixels = tiny.pictures(2)
    opened = open_captioner(str(target), "cpu", "fp32")
    assert opened.caption(pixels, ["", ""], Decoding(), [0, 0]) == tiny.captioner.caption(
        pixels, ["", ""], Decoding(), [0, 0]
    )
    # A second call reads nothing
    shutil.rmtree(folder / "pytorch_model.bin", ignore_errors=True)
    made = (target / "model.safetensors").stat().st_mtime_ns
    weights.convert(folder, target)
    assert (target / "model.safetensors").stat().st_mtime_ns == made


def test_two_conversions_at_once_do_the_work_once(folder: Path, tmp_path: Path) -> None:
    as_bin(folder)
    steps: list[int] = []
    threads = [
        threading.Thread(target=weights.convert, args=(folder, tmp_path / "out", lambda *step: steps.append(step[1])))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert steps.count(0) == 1
    assert (tmp_path / "out" / "model.safetensors").is_file()


class Malicious:
    """A pickle that runs a command when it is read by a careless reader."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old pickle"])
def test_a_malicious_pickle_is_refused_in_one_line_and_never_run(folder: Path, tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "owned"
    as_bin(folder)
    torch.save({"weight": Malicious(mark)}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(NotACaptioner, match=r"asks to run posix.system: refused, not run$") as refused:
        weights.convert(folder, tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


def break_bin(folder: Path, content: bytes) -> None:
    as_bin(folder)
    (folder / "pytorch_model.bin").write_bytes(content)


@pytest.mark.parametrize(
    "content", [b"", b"not weights at all", pickle.dumps([1, 2])], ids=["empty", "text", "a pickled list"]
)
def test_bin_weights_that_are_none_are_refused_in_one_line(folder: Path, tmp_path: Path, content: bytes) -> None:
    break_bin(folder, content)
    with pytest.raises(NotACaptioner, match=r"pytorch_model\.bin") as refused:
        weights.convert(folder, tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def drop_weights(folder: Path, keep: str) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in state.items() if keep in name}, folder / "model.safetensors")


BROKEN = {
    "BLIP-2": (
        lambda at: edit(at, model_type="blip-2", architectures=["Blip2ForConditionalGeneration"]),
        r"type blip-2 \(Blip2ForConditionalGeneration\), not a BLIP captioner",
    ),
    "a text model": (lambda at: edit(at, model_type="bert", architectures=["BertModel"]), r"type bert \(BertModel\)"),
    "BLIP for questions": (
        lambda at: edit(at, architectures=["BlipForQuestionAnswering"]),
        r"BlipForQuestionAnswering\), not a BLIP captioner",
    ),
    "its code": (
        lambda at: edit(at, model_type="mine", auto_map={"AutoModel": "code.Mine"}),
        "type mine",
    ),
    "no config": (lambda at: (at / "config.json").unlink(), "no config.json"),
    "a broken config": (lambda at: (at / "config.json").write_text("{"), "config.json cannot be read"),
    "a config of another kind": (lambda at: (at / "config.json").write_text("[]"), "config.json cannot be read"),
    "no weights": (lambda at: (at / "model.safetensors").unlink(), r"no safetensors in it \(no weights at all\)"),
    "cut weights": (
        lambda at: (at / "model.safetensors").write_bytes((at / "model.safetensors").read_bytes()[:5000]),
        "cannot be loaded",
    ),
    "half the weights": (lambda at: drop_weights(at, "vision_model"), r"\d+ weights are missing or misshapen, text_"),
    "another shape": (
        lambda at: edit(
            at, text_config={**json.loads((at / "config.json").read_text())["text_config"], "vocab_size": 9}
        ),
        "missing or misshapen|cannot be loaded",
    ),
    "no tokenizer": (
        lambda at: [
            (at / name).unlink(missing_ok=True) for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
        ],
        "no tokenizer in it",
    ),
    "another picture size": (
        lambda at: (at / "processor_config.json").write_text(
            '{"image_processor": {"size": {"height": 64, "width": 64}}}'
        ),
        "makes 64x64 pictures, its model takes 32x32",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_captioner_is_refused_in_one_line_that_names_what_was_found(folder: Path, kind: str) -> None:
    spoil, says = BROKEN[kind]
    spoil(folder)
    with pytest.raises(NotACaptioner, match=says) as refused:
        open_captioner(str(folder), "cpu", "fp32")
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)


def test_a_folder_that_is_not_there_and_a_device_that_is_not_there_are_named(folder: Path) -> None:
    with pytest.raises(NotACaptioner, match="no such folder"):
        open_captioner(str(folder / "nothing"), "cpu")
    with pytest.raises(ValueError, match="precision fp8: auto, fp32, bf16 or fp16"):
        open_captioner(str(folder), "cpu", "fp8")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch sees 0 CUDA devices; use auto or cpu"):
            open_captioner(str(folder), "cuda:0")
    assert open_captioner(str(folder), "auto", "auto").precision in ("fp32", "bf16", "fp16")


EXHAUST = """
import resource, sys
import numpy as np
from pathlib import Path
from blipq.worker.engine.captioner import Decoding, OutOfMemory, open_captioner

captioner = open_captioner(sys.argv[1], "cpu", "fp32")
side = captioner.preprocessing.height

def caption(count):
    pixels = np.zeros((count, side, side, 3), np.uint8)
    return len(captioner.caption(pixels, [""] * count, Decoding(num_beams=4), [0] * count))

caption(2)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000, resource.RLIM_INFINITY))
try:
    caption(20_000)
except OutOfMemory as error:
    print(caption(2), error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's RLIMIT_AS")
def test_a_batch_too_large_for_memory_says_so_and_a_smaller_one_fits_after(folder: Path) -> None:
    command = [sys.executable, "-I", "-c", EXHAUST, str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert said.startswith("2 ")
    assert "alloc" in said
