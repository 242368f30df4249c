"""One row a picture: the best token each time, or a drawn one. Finished pictures leave the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blipq.worker.engine import sample
from blipq.worker.engine.decoding import Decoding
from blipq.worker.engine.logits import Processors
from blipq.worker.engine.stepper import Stepper


@dataclass
class Written:
    """What a picture's row wrote: its tokens with the end token, and the log-probability of each."""

    tokens: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)


def write(
    stepper: Stepper, prompts: Tensor, decoding: Decoding, processors: Processors, seeds: Sequence[int]
) -> list[Written]:
    """Decode a batch whose pictures and `prompts` (B, P; `V` where padded) the stepper holds."""
    written = [Written() for _ in seeds]
    pictures = list(range(len(seeds)))  # which picture each row holds
    finished = [False] * len(seeds)
    history = prompts
    logits = stepper.begin()
    for number in range(decoding.max_new_tokens):
        scores = processors(logits, history, number)
        if decoding.do_sample:
            tokens = sample.draw(scores, [seeds[picture] for picture in pictures], number)
        else:
            tokens = scores.argmax(-1)
        chosen = logits.gather(1, tokens[:, None]).squeeze(1) - logits.logsumexp(-1)
        for row, (token, value) in enumerate(zip(tokens.tolist(), chosen.tolist(), strict=True)):
            if not finished[row]:
                written[pictures[row]].tokens.append(token)
                written[pictures[row]].log_probabilities.append(value)
                finished[row] = token == processors.end
        if all(finished) or number + 1 == decoding.max_new_tokens:
            break
        if processors.need_history:
            history = torch.cat((history, tokens[:, None]), 1)
        if stepper.worth_packing(finished):
            order = stepper.keep([not done for done in finished])
            places = torch.tensor(order, device=tokens.device)
            tokens, history = tokens[places], history[places] if processors.need_history else history
            pictures = [pictures[place] for place in order]
            finished = [False] * len(pictures)
        logits = stepper.step(tokens)
    return written
