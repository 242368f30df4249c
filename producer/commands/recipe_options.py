"""The options that say how photos are captioned, in Hugging Face's words: the same wherever captions are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from blipq.producer.enqueue import Request

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--model", help="A Hub id (NAME@REVISION), a folder, demo, run:3 or an alias.  [BLIPQ_MODEL]"),
    click.option("--prompt", default="", help="Words that each caption begins with."),
    click.option("--num-beams", type=int, default=1, show_default=True, help="Beam search; 1 is greedy."),
    click.option("--max-new-tokens", type=int, default=20, show_default=True),
    click.option("--min-new-tokens", type=int, default=0, show_default=True),
    click.option("--do-sample", is_flag=True, help="Sample; implied by --top-p, --top-k and --temperature."),
    click.option("--top-p", type=float),
    click.option("--top-k", type=int),
    click.option("--temperature", type=float),
    click.option("--repetition-penalty", type=float, default=1.0, show_default=True),
    click.option(
        "--length-penalty", type=float, default=1.0, show_default=True, help="For beams: above 0 favours length."
    ),
    click.option("--no-repeat-ngram-size", type=int, default=0, show_default=True),
    click.option("--seed", type=int, default=0, show_default=True, help="For sampling."),
    click.option("--batch-size", type=click.IntRange(1, 4096), help="Chosen and remembered when not given."),
    click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True),
    click.option("--priority", type=click.Choice(["high", "normal", "low"]), default="normal", show_default=True),
)


def recipe_options(command: F) -> F:
    """Give a command the options of a recipe."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def request_of(paths: tuple[str, ...], options: dict[str, Any], default_model: str) -> Request:
    """What the options of a command ask for; those of `recipe_options`, and fields of `Request` by their names."""
    from dataclasses import fields

    from blipq.producer.enqueue import Request

    given = dict(options)
    sampling = {name: given.pop(name) for name in ("top_p", "top_k", "temperature")}
    chosen = {name: value for name, value in sampling.items() if value is not None}
    model = given.pop("model") or default_model
    own = {field.name: given.pop(field.name) for field in fields(Request) if field.name in given}
    given["do_sample"] = given["do_sample"] or bool(chosen)
    return Request(paths, model, {**given, **chosen}, **own)
