"""How captions are asked for and what comes back: plain frozen values in Hugging Face's own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen. Names and meanings are those of `transformers.GenerationConfig`.

    `max_new_tokens` counts what is written after the prompt. Hugging Face's default for BLIP is `max_length=20`, which
    counts [DEC] and the prompt too; 20 new tokens whatever the prompt is the same for an empty prompt but for one
    token, and a caption that is cut short by it says so (`Caption.cut`).

    Raises ValueError, one line that names the field and what it takes.
    """

    num_beams: int = 1
    max_new_tokens: int = 20
    min_new_tokens: int = 0
    do_sample: bool = False
    top_p: float = 1.0
    top_k: int = 50
    """Read only when `do_sample`; 0 turns it off."""
    temperature: float = 1.0
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    """Read only with beams: a caption's score is its log-probability over its length to this power."""
    no_repeat_ngram_size: int = 0
    early_stopping: bool | Literal["never"] = False
    """Read only with beams."""
    seed: int = 0
    """Of the recipe: who calls `caption` derives a row's own seed from it."""

    def __post_init__(self) -> None:
        checks = {
            "num_beams": (self.num_beams >= 1, "1 or more"),
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
            "min_new_tokens": (0 <= self.min_new_tokens <= self.max_new_tokens, "0 to max_new_tokens"),
            "top_p": (0.0 < self.top_p <= 1.0, "over 0, up to 1"),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
            "temperature": (self.temperature > 0.0, "over 0"),
            "repetition_penalty": (self.repetition_penalty > 0.0, "over 0"),
            "no_repeat_ngram_size": (self.no_repeat_ngram_size >= 0, "0 (off) or more"),
            "early_stopping": (self.early_stopping in (True, False, "never"), "true, false or never"),
            "do_sample": (not (self.do_sample and self.num_beams > 1), "sampling or beams, not both"),
        }
        for name, (fine, takes) in checks.items():
            if not fine:
                raise ValueError(f"{name}={getattr(self, name)}: {takes}")


@dataclass(frozen=True)
class Caption:
    """One picture's caption."""

    text: str
    """Prompt and continuation, as `processor.decode(..., skip_special_tokens=True)` gives it."""
    score: float
    """Mean log-probability (natural, 0 or less) that the model itself, before penalties and temperature, gave to the
    emitted tokens, the end token included."""
    tokens: tuple[int, ...]
    """The emitted tokens, without the prompt, with the end token where one came."""
    cut: bool
    """It ended by `max_new_tokens`, not by the end token."""
