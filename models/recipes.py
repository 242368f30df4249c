"""A recipe: what was asked of a model, in full. Equal recipes are one row, whoever asked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from blipq.models.schema import recipe

PREPROCESSING = "blipq-1"  # changes when the same picture would reach the model with other pixels


class BadRecipe(ValueError):
    """A parameter has a value that no caption can be made with; the message is one line."""


@dataclass(frozen=True)
class Recipe:
    """Resolved weights, prompt and decoding parameters, in Hugging Face's words and with its defaults."""

    weights: str  # hub:NAME@COMMIT or sha256:HEX
    prompt: str = ""
    num_beams: int = 1
    max_new_tokens: int = 20
    min_new_tokens: int = 0
    do_sample: bool = False
    top_p: float = 1.0
    top_k: int = 50
    temperature: float = 1.0
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    seed: int = 0
    preprocessing: str = PREPROCESSING

    def __post_init__(self) -> None:
        """Raise BadRecipe where a value is out of its range."""
        checks = (
            (1 <= self.num_beams <= 64, "--num-beams takes 1 to 64"),
            (1 <= self.max_new_tokens <= 400, "--max-new-tokens takes 1 to 400"),
            (0 <= self.min_new_tokens <= self.max_new_tokens, "--min-new-tokens takes 0 to --max-new-tokens"),
            (0 < self.top_p <= 1, "--top-p takes a number above 0, up to 1"),
            (self.top_k >= 0, "--top-k takes 0 (off) or more"),
            (0 < self.temperature <= 100, "--temperature takes a number above 0, up to 100"),
            (0 < self.repetition_penalty <= 100, "--repetition-penalty takes a number above 0; 1 is off"),
            (-100 <= self.length_penalty <= 100, "--length-penalty takes -100 to 100"),
            (0 <= self.no_repeat_ngram_size <= 100, "--no-repeat-ngram-size takes 0 (off) to 100"),
            (len(self.prompt) <= 1000, "--prompt takes at most 1,000 characters"),
            (_is_text(self.prompt), "--prompt is no UTF-8, or holds a NUL"),
            (not (self.do_sample and self.num_beams > 1), "sampling and beams do not go together: leave one out"),
        )
        for holds, message in checks:
            if not holds:
                raise BadRecipe(message)

    def canonical(self) -> Recipe:
        """The same request with what cannot matter at its default: only sampling has a temperature, top-p or seed."""
        if self.do_sample:
            return self
        return replace(self, top_p=1.0, top_k=50, temperature=1.0, seed=0)

    def hash(self) -> bytes:
        """32 bytes that two recipes share exactly when they ask for the same."""
        return hashlib.sha256(json.dumps(asdict(self.canonical()), sort_keys=True).encode()).digest()


def _is_text(text: str) -> bool:
    """Whether a database takes it: half a character comes of bytes that are no UTF-8, and of some JSON."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def record(connection: Connection, asked: Recipe, name: str) -> int:
    """The id of the recipe's one row, made where there is none; `name` leads to its weights for good."""
    key = asked.hash()
    found = select(recipe.c.id).where(recipe.c.hash == key)
    known = connection.scalar(found)
    if known is not None:
        return int(known)
    try:
        with connection.begin_nested():
            made = connection.execute(recipe.insert().values(hash=key, model=name, **asdict(asked.canonical())))
    except IntegrityError:  # another process was first
        return int(connection.execute(found).scalar_one())
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0])


def read(connection: Connection, recipe_id: int) -> Recipe:
    """The recipe behind a row."""
    row = connection.execute(select(recipe).where(recipe.c.id == recipe_id)).one()
    return Recipe(**{field.name: row._mapping[field.name] for field in fields(Recipe)})
