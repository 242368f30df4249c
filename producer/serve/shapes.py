"""What goes in and out of the API, typed: OpenAPI is made from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_PICTURES = 100  # of one upload
MOST_PATHS = 1000
MOST_SECONDS = 600.0

Number = Annotated[int, Field(ge=1, le=2**31 - 1, description="a job's or run's number")]


class Problem(BaseModel):
    """Every answer that is an error."""

    detail: str = Field(description="one line: what is wrong, what to do")


class Asked(BaseModel):
    """What may be asked of a model; Hugging Face's words and defaults."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None, max_length=500, description="one that this server has used, `demo`, `run:3` or an alias"
    )
    prompt: str = Field("", max_length=1000, description="words that the caption begins with")
    num_beams: int = Field(1, ge=1, le=16, description="beam search; 1 is greedy")
    max_new_tokens: int = Field(20, ge=1, le=200)
    min_new_tokens: int = Field(0, ge=0, le=200)
    repetition_penalty: float = Field(1.0, gt=0, le=100)
    length_penalty: float = Field(1.0, ge=-100, le=100)
    no_repeat_ngram_size: int = Field(0, ge=0, le=100)

    def recipe(self) -> dict[str, Any]:
        """The fields that a recipe has, without the weights."""
        return self.model_dump(exclude={"model"})


class CaptionAsked(Asked):
    """The fields of `POST /v1/caption` besides the picture."""

    timeout: float = Field(
        60.0, gt=0, le=MOST_SECONDS, description="seconds until 504, and until the picture is let go"
    )


class JobAsked(Asked):
    """A job over paths of the server."""

    paths: list[Annotated[str, Field(min_length=1, max_length=4096)]] = Field(
        min_length=1, max_length=MOST_PATHS, description="files or folders below a folder of BLIPQ_ROOTS"
    )
    mode: Literal["fill", "replace"] = Field("fill", description="fill: only what has no caption under this recipe")
    priority: Literal["high", "normal", "low"] = "normal"


class UploadAsked(Asked):
    """The fields of `POST /v1/jobs` beside uploaded pictures."""

    priority: Literal["high", "normal", "low"] = "normal"


class CaptionMade(BaseModel):
    """A picture's caption."""

    caption: str
    score: float | None = Field(description="mean log-probability of a token")
    flag: str | None = Field(description="what looks wrong with it: empty, repeated, echo, cut, unsure")
    model: str


class JobMade(BaseModel):
    """A job that was queued."""

    job: int


class Job(BaseModel):
    """Where a job stands."""

    id: int
    kind: str
    state: Literal["scanning", "queued", "running", "done", "failed", "cancelled"]
    source: str
    model: str
    priority: int
    total: int = Field(description="pictures found")
    skipped: int = Field(description="of these, captioned before")
    queued: int
    running: int
    done: int
    failed: int
    remaining: int
    rate: float | None = Field(description="pictures a second")
    note: str | None
    seconds: float | None
    created_at: float


class Cancelled(BaseModel):
    """What a cancelled job leaves undone."""

    job: int
    cancelled: int = Field(description="pictures that will not be captioned")


class Result(BaseModel):
    """A photo of a job: a caption, or an error with its message."""

    id: int
    path: str
    caption: str | None = Field(description="the current one: a person's, else the model's")
    source: Literal["human", "model"] | None
    model: str | None
    score: float | None
    flag: str | None
    model_caption: str | None
    error: str | None
    message: str | None


class Results(BaseModel):
    """A page of results."""

    results: list[Result]
    next: int | None = Field(description="`after` of the next page; null on the last")


class Run(BaseModel):
    """A training run in the list."""

    run: int
    job: int
    base: str
    data: str
    state: str
    validation_loss: float | None
    best_step: int | None
    bleu_4: float | None
    cider_d: float | None
    rouge_l: float | None
    meteor: float | None


class RunStatus(BaseModel):
    """Where a training run stands."""

    run: int
    job: int
    state: str
    base: str
    data: str
    pictures: int | None
    steps: int | None
    step: int
    epochs: int | None
    epoch: float
    loss: float | None
    unsmoothed: float | None
    learning_rate: float | None
    validation_loss: float | None
    best_step: int | None
    note: str | None
    seconds: float | None
    metrics: list[dict[str, Any]] = Field(description="an entry an epoch: epoch, step, losses, metrics")


class Loss(BaseModel):
    """A step of a training run."""

    step: int
    epoch: float
    loss: float
    unsmoothed: float
    learning_rate: float
    grad_norm: float | None


class Ready(BaseModel):
    """Whether work can be done here."""

    ready: bool
    database: str
    broker: str
    workers: int
