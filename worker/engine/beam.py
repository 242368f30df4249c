"""Beam search as Hugging Face's `_beam_search` has it since transformers 4.51, for each picture on its own.

There a batch runs on until its last picture is done; here a picture leaves when its own search is over. That changes no
caption: after that point Hugging Face's masks any further result of that picture away.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blipq.worker.engine.decoding import Decoding
from blipq.worker.engine.greedy import Written
from blipq.worker.engine.logits import Processors
from blipq.worker.engine.stepper import Stepper

NEVER = np.float32(-1e9)  # Hugging Face's minus infinity for scores
Floats = NDArray[np.float32]


@dataclass
class _Search:
    """One picture's search: `beams` running hypotheses, and the best `beams` finished ones."""

    beams: int
    running: Floats
    tokens: list[Written]
    best: list[tuple[np.float32, Written]] = field(default_factory=list)
    done: bool = False


def write(stepper: Stepper, prompts: Tensor, decoding: Decoding, processors: Processors) -> list[Written]:
    """Decode a batch whose pictures and `prompts` (B, P; `V` where padded) the stepper holds."""
    beams = decoding.num_beams
    searches = [_begin(beams) for _ in range(len(prompts))]
    present = searches
    history = prompts.repeat_interleave(beams, 0)
    logits = stepper.begin().repeat_interleave(beams, 0)
    for number in range(decoding.max_new_tokens):
        natural = logits.log_softmax(-1)
        scores = processors(natural, history, number)
        totals, choices, naturals = _candidates(scores, natural, present)
        sources = np.empty((len(present), beams), dtype=np.int64)
        tokens = np.empty((len(present), beams), dtype=np.int64)
        for place, search in enumerate(present):
            if not search.done:
                found = (totals[place], choices[place] // scores.shape[1], choices[place] % scores.shape[1])
                sources[place], tokens[place] = _advance(
                    search, *found, naturals[place], number, decoding, processors.end
                )
            else:
                sources[place], tokens[place] = np.arange(beams), processors.end
        if all(search.done for search in present):
            break
        rows = torch.from_numpy((sources + np.arange(len(present))[:, None] * beams).ravel()).to(logits.device)
        following = torch.from_numpy(tokens.ravel()).to(logits.device)
        stepper.reorder(rows)
        if processors.need_history:
            history = torch.cat((history[rows], following[:, None]), 1)
        finished = [search.done for search in present]
        if stepper.worth_packing(finished):
            order = stepper.keep([not done for done in finished])
            kept = torch.tensor([place * beams + beam for place in order for beam in range(beams)]).to(logits.device)
            following, history = following[kept], history[kept] if processors.need_history else history
            present = [present[place] for place in order]
        logits = stepper.step(following)
    return [search.best[0][1] for search in searches]


def _begin(beams: int) -> _Search:
    running = np.full(beams, NEVER, dtype=np.float32)
    running[0] = 0.0  # the beams are equal at first: only one of them may go on
    return _Search(beams, running, [Written() for _ in range(beams)])


def _candidates(scores: Tensor, natural: Tensor, searches: list[_Search]) -> tuple[Floats, NDArray[np.int64], Floats]:
    """The 2·beams best continuations a picture, best first: total score, beam · V + token, its own log-probability."""
    beams, vocabulary = searches[0].beams, scores.shape[1]
    running = torch.from_numpy(np.stack([search.running for search in searches])).to(scores.device)
    # Each beam's best first: the best of all are among them, and V is read once.
    values, tokens = scores.topk(2 * beams, -1)
    totals = values.view(len(searches), beams, -1) + running[:, :, None]
    offsets = torch.arange(beams, device=scores.device)[None, :, None] * vocabulary
    choices = (tokens.view(len(searches), beams, -1) + offsets).flatten(1)
    totals, places = totals.flatten(1).topk(2 * beams, -1)
    choices = choices.gather(1, places)
    naturals = natural.view(len(searches), -1).gather(1, choices)
    return totals.cpu().numpy(), choices.cpu().numpy(), naturals.cpu().numpy()


def _advance(
    search: _Search,
    totals: Floats,
    beams_of: NDArray[np.int64],
    tokens: NDArray[np.int64],
    naturals: Floats,
    number: int,
    decoding: Decoding,
    end: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Take the candidates in: finished ones compete with those before, the best others run on → their beams, tokens."""
    last = number + 1 == decoding.max_new_tokens
    stops = (tokens == end) | last
    length = np.float32(float(number + 1) ** decoding.length_penalty)

    def extended(candidate: int) -> Written:
        parent = search.tokens[beams_of[candidate]]
        value = float(naturals[candidate])
        return Written([*parent.tokens, int(tokens[candidate])], [*parent.log_probabilities, value])

    full = len(search.best) == search.beams and decoding.early_stopping is True
    # Of the 2·beams candidates only the first `beams` may finish; the others are there to run on.
    for candidate in np.flatnonzero(stops[: search.beams]):
        if not full:
            search.best.append((totals[candidate] / length, extended(int(candidate))))
    search.best = sorted(search.best, key=lambda scored: -scored[0])[: search.beams]

    penalised = totals + stops.astype(np.float32) * NEVER
    order = np.argsort(-penalised, kind="stable")[: search.beams]
    search.tokens, search.running = [extended(int(candidate)) for candidate in order], penalised[order]
    search.done = bool(stops.all()) or _over(search, number + 1, decoding)
    return beams_of[order], tokens[order]


def _over(search: _Search, length: int, decoding: Decoding) -> bool:
    """Whether nothing that runs can, by Hugging Face's estimate, still beat the worst finished hypothesis."""
    if len(search.best) < search.beams:
        return False
    if decoding.early_stopping is True:
        return True
    hopeful = decoding.early_stopping == "never" and decoding.length_penalty > 0.0
    reach = np.float32(float(decoding.max_new_tokens if hopeful else length) ** decoding.length_penalty)
    return not search.running[0] / reach > min(score for score, _ in search.best)
