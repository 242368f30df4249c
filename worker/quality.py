"""What looks wrong with a caption, said when it is written: `empty`, `repeated`, `echo`, `cut`, `unsure`."""

from __future__ import annotations

from collections import Counter

UNSURE = -2.5  # mean log-probability of a token: e^-2.5 is 8 %; BLIP's own captions of photos lie at -0.5 to -1.5
REPEATS = 3  # times that a word or a pair of words may stand in a row


def flag(text: str, prompt: str, score: float, *, cut: bool) -> str | None:
    """The flags of a caption, comma-separated; None where nothing looks wrong.

    `score` is the mean log-probability of its tokens, `cut` says that it ended by length.
    """
    said = text.strip().lower()
    asked = prompt.strip().lower()
    new = said.removeprefix(asked).strip() if asked else said
    flags = []
    if not said:
        flags.append("empty")
    elif not new:
        flags.append("echo")
    if _repeats(new.split()):
        flags.append("repeated")
    if cut:
        flags.append("cut")
    if score < UNSURE:
        flags.append("unsure")
    return ",".join(flags) or None


def _repeats(words: list[str]) -> bool:
    """Whether a word or pair comes three times running, or a group of three words three times at all."""
    for size in (1, 2):
        groups = [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]
        for at in range(len(groups) - (REPEATS - 1) * size):
            if all(groups[at] == groups[at + n * size] for n in range(REPEATS)):
                return True
    threes = Counter(zip(words, words[1:], words[2:], strict=False))
    return any(count >= REPEATS for count in threes.values())
