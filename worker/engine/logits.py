"""What Hugging Face's logits processors do, in their order, on tensors, for prompts of any mix of lengths."""

from __future__ import annotations

import torch
from torch import Tensor

from blipq.worker.engine.decoding import Decoding


class Processors:
    """Penalties and bans on scores (rows, V), given what each row holds so far.

    `history` (rows, columns) holds token ids and `V` where a prompt was padded; [DEC] and the prompt count, as in
    Hugging Face's.
    """

    def __init__(self, decoding: Decoding, end: int, vocabulary: int) -> None:
        self.decoding, self.end, self.vocabulary = decoding, end, vocabulary

    @property
    def need_history(self) -> bool:
        return self.decoding.repetition_penalty != 1.0 or self.decoding.no_repeat_ngram_size > 0

    def __call__(self, scores: Tensor, history: Tensor, emitted: int) -> Tensor:
        """`emitted` tokens were written before this one."""
        if self.decoding.repetition_penalty != 1.0:
            scores = self._penalise(scores, history)
        if self.decoding.no_repeat_ngram_size:
            scores = self._ban_repeated(scores, history)
        if emitted < self.decoding.min_new_tokens:
            scores = scores.clone()
            scores[:, self.end] = float("-inf")
        if self.decoding.do_sample:
            scores = self._narrow(scores)
        return scores

    def _penalise(self, scores: Tensor, history: Tensor) -> Tensor:
        penalty = self.decoding.repetition_penalty
        seen = self._mark(scores, history)
        return torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)

    def _ban_repeated(self, scores: Tensor, history: Tensor) -> Tensor:
        size = self.decoding.no_repeat_ngram_size
        if history.shape[1] < size:
            return scores
        windows = history.unfold(1, size, 1)
        prefix = history[:, history.shape[1] + 1 - size :]
        same = (windows[..., :-1] == prefix[:, None]).all(-1) & (windows != self.vocabulary).all(-1)
        banned = self._mark(scores, torch.where(same, windows[..., -1], self.vocabulary))
        return scores.masked_fill(banned, float("-inf"))

    def _mark(self, scores: Tensor, tokens: Tensor) -> Tensor:
        mask = torch.zeros(len(scores), self.vocabulary + 1, dtype=torch.bool, device=scores.device)
        return mask.scatter_(1, tokens, True)[:, : self.vocabulary]

    def _narrow(self, scores: Tensor) -> Tensor:
        """Temperature, then the `top_k` best, then the fewest best whose probability reaches `top_p`."""
        scores = scores / self.decoding.temperature
        if self.decoding.top_k:
            best = scores.topk(min(self.decoding.top_k, scores.shape[-1])).values
            scores = scores.masked_fill(scores < best[:, -1:], float("-inf"))
        if self.decoding.top_p < 1.0:
            ascending, places = scores.sort(-1)
            dropped = ascending.softmax(-1).cumsum(-1) <= 1 - self.decoding.top_p
            dropped[:, -1] = False
            scores = scores.masked_fill(torch.zeros_like(dropped).scatter_(1, places, dropped), float("-inf"))
        return scores
