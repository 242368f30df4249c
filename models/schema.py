"""Every table of the ledger. Names are a contract: people query them. Times are seconds since 1970, by the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
BigKey = BigInteger().with_variant(Integer, "sqlite")

PRIORITIES = {"low": -10, "normal": 0, "high": 10}


class db_now(FunctionElement[float]):
    """The database's clock, the only one that counts: seconds since 1970."""

    type = Double()
    inherit_cache = True


@compiles(db_now, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


def _key() -> Column[int]:
    return Column("id", BigKey, primary_key=True)


def _count(name: str) -> Column[int]:
    """A counter that may be missing from an insert of the release before."""
    return Column(name, Integer, nullable=False, default=0, server_default=text("0"))


def _to(table: str, *, nullable: bool = False, primary_key: bool = False, index: bool = False) -> Column[int]:
    """A reference, named after the table it leads to."""
    return Column(
        f"{table}_id", BigKey, ForeignKey(f"{table}.id"), nullable=nullable, primary_key=primary_key, index=index
    )


def _created() -> Column[float]:
    return Column("created_at", Double, nullable=False, default=db_now())


def _states(*states: str) -> CheckConstraint:
    return CheckConstraint(f"state IN ({', '.join(repr(s) for s in states)})", name="state")


def _partial(name: str, *columns: str, where: str) -> Index:
    """An index over the rows of which something holds."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


# Pictures: a path for ever, and the content it last held.

image = Table(
    "image",
    METADATA,
    _key(),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("format", Text, nullable=False),
)

file = Table(
    "file",
    METADATA,
    _key(),
    Column("path", Text, nullable=False, unique=True),
    Column("path_raw", LargeBinary),  # only where the name is no UTF-8; `path` then holds it escaped
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    _to("image", nullable=True, index=True),
    # A renamed or copied photo has the size of a file we know: only then is hashing before decoding worth it.
    _partial("ix_file_size_known", "size", where="image_id IS NOT NULL"),
)

upload = Table(
    "upload",
    METADATA,
    Column("file_id", BigKey, ForeignKey("file.id"), primary_key=True),
    Column("data", LargeBinary, nullable=False),
    _created(),
)

# Captions: what was asked, what came of it, what a person made of it.

recipe = Table(
    "recipe",
    METADATA,
    _key(),
    Column("hash", LargeBinary(32), nullable=False, unique=True),
    Column("model", Text, nullable=False),  # a name that always means these weights: an alias may move
    Column("weights", Text, nullable=False),  # hub:NAME@COMMIT or sha256:HEX, never a branch
    Column("prompt", Text, nullable=False),
    Column("num_beams", Integer, nullable=False),
    Column("max_new_tokens", Integer, nullable=False),
    Column("min_new_tokens", Integer, nullable=False),
    Column("do_sample", Boolean(create_constraint=False), nullable=False),
    Column("top_p", Double, nullable=False),
    Column("top_k", Integer, nullable=False),
    Column("temperature", Double, nullable=False),
    Column("repetition_penalty", Double, nullable=False),
    Column("length_penalty", Double, nullable=False),
    Column("no_repeat_ngram_size", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("preprocessing", Text, nullable=False),
    _created(),
)

worker = Table(
    "worker",
    METADATA,
    _key(),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("queue", Text, nullable=False),
    Column("device", Text),
    Column("versions", Text, nullable=False),
    Column("state", Text, nullable=False),  # starting, idle, loading, running, stopping, stopped, halted, failed
    Column("model", Text),
    Column("rate", Double),  # pictures (or training steps) a second, over the last minute
    Column("note", Text),
    Column("loading_job", BigKey),  # whose model it is making ready: if it dies meanwhile, that counts against the job
    Column("started_at", Double, nullable=False, default=db_now()),
    Column("seen_at", Double, nullable=False, default=db_now()),
    Index("ix_worker_seen_at", "seen_at"),
)

caption = Table(
    "caption",
    METADATA,
    _key(),
    _to("image"),
    _to("recipe"),
    Column("text", Text, nullable=False),
    Column("score", Double),  # mean log-probability of a token
    Column("flag", Text),  # what looks wrong with it, comma-separated; NULL is nothing
    _to("worker", nullable=True),
    Column("precision", Text),
    _created(),
    Index("uq_caption_image_id_recipe_id", "image_id", "recipe_id", unique=True),
    Index("ix_caption_recipe_id", "recipe_id"),
)

edit = Table(
    "edit",
    METADATA,
    _key(),
    _to("image", index=True),
    _to("recipe", nullable=True),  # whose caption the person saw; the edit itself belongs to the image
    Column("text", Text),  # NULL takes the person's caption back
    Column("author", Text, nullable=False),
    Column("batch", Text),  # the bulk edit that it was part of
    _created(),
)

alias = Table(
    "alias",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("weights", Text, nullable=False, index=True),
    _created(),
)

fingerprint = Table(
    "fingerprint",
    METADATA,
    Column("path", Text, primary_key=True),  # of a weights file: hashed once for its size and time
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
)

# Work: a job is cut into units; a unit is what a worker leases; an item is one picture that a job has to do.

job = Table(
    "job",
    METADATA,
    _key(),
    Column("kind", Text, nullable=False),  # caption, train
    Column("state", Text, nullable=False),
    Column("source", Text, nullable=False),  # what was enqueued, as typed
    Column("model", Text, nullable=False),
    _to("recipe", nullable=True),  # NULL until the model's name is resolved
    Column("parameters", Text, nullable=False),  # JSON: what is no part of the recipe too
    Column("priority", Integer, nullable=False),
    Column("served", Double, nullable=False, default=0),  # items handed out: equals take turns by it
    Column("run_after", Double, nullable=False, default=0),  # until then it waits, for the reason in `note`
    Column("deadline", Double),
    Column("scanned_at", Double),  # when its folder was last heard to be read
    Column("total", Integer, nullable=False, default=0),  # pictures found
    Column("skipped", Integer, nullable=False, default=0),  # of these, captioned before
    Column("note", Text),  # why it waits or failed
    _count("attempts"),  # to make its model ready, that failed since one succeeded
    _count("deaths"),  # of a process over its pictures, since something came of it
    _created(),
    Column("started_at", Double),
    Column("ended_at", Double),
    _states("scanning", "queued", "running", "done", "failed", "cancelled"),
    Index("ix_job_state", "state"),
)

unit = Table(
    "unit",
    METADATA,
    _key(),
    _to("job"),
    Column("queue", Text, nullable=False),
    Column("state", Text, nullable=False),
    _to("worker", nullable=True),  # the owner
    Column("fence", BigInteger, nullable=False, default=0),  # the claim's own number: random, so that none comes again
    Column("crashes", Integer, nullable=False, default=0),  # deaths of its worker that were seen
    _count("lapses"),  # leases that ran out, nobody knows why
    _count("preemptions"),  # handed back unfinished: its worker had to stop or to make way
    Column("run_after", Double, nullable=False, default=0),
    Column("lease_until", Double),
    Column("pictures", Integer, nullable=False),
    Column("done", Integer, nullable=False, default=0),
    Column("failed", Integer, nullable=False, default=0),
    _states("queued", "running", "done", "split", "failed", "cancelled"),
    Index("ix_unit_job_id_state", "job_id", "state"),
    _partial("ix_unit_due", "job_id", "id", where="state = 'queued'"),
    _partial("ix_unit_leased", "lease_until", where="state = 'running'"),
)

item = Table(
    "item",
    METADATA,
    _key(),
    _to("job"),
    _to("unit", index=True),
    _to("file"),
    Column("state", Text, nullable=False, default="queued"),
    Column("attempts", Integer, nullable=False, default=0),
    _states("queued", "done", "failed", "cancelled"),
    Index("ix_item_file_id_job_id", "file_id", "job_id"),
)

failure = Table(
    "failure",
    METADATA,
    _key(),
    _to("job"),
    _to("file"),
    Column("kind", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    _created(),
    Index("uq_failure_job_id_file_id", "job_id", "file_id", unique=True),
    Index("ix_failure_file_id", "file_id"),
)

queue = Table(
    "queue",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("paused", Boolean(create_constraint=False), nullable=False, default=False),
    Column("changed_at", Double),
)

batch_size = Table(
    "batch_size",
    METADATA,
    Column("weights", Text, primary_key=True),
    Column("device", Text, primary_key=True),
    Column("num_beams", Integer, primary_key=True),
    Column("precision", Text, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("rate", Double),  # pictures a second at that size
    Column("tried_at", Double, nullable=False, default=db_now()),
)

# Training: a run belongs to a unit.

run = Table(
    "run",
    METADATA,
    _key(),
    _to("job", index=True),
    _to("unit"),
    Column("base", Text, nullable=False),
    Column("weights", Text),  # of the base
    Column("data", Text, nullable=False),
    Column("plan", Text, nullable=False),  # JSON: every hyper-parameter
    Column("folder", Text),  # of its checkpoints; NULL until a worker begins it
    Column("stranded_at", Double),  # since when no worker that looked could reach its checkpoints
    Column("pictures", Integer),
    Column("steps", Integer),  # planned
    Column("note", Text),  # what it is doing, or why it ended early
    Column("started_at", Double),
    Column("ended_at", Double),
    _created(),
)

loss = Table(
    "loss",
    METADATA,
    _to("run", primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("epoch", Double, nullable=False),
    Column("loss", Double, nullable=False),
    Column("unsmoothed", Double, nullable=False),
    Column("learning_rate", Double, nullable=False),
    Column("grad_norm", Double),
    _created(),
)

epoch = Table(
    "epoch",
    METADATA,
    _to("run", primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("step", Integer, nullable=False),
    Column("loss", Double, nullable=False),
    Column("validation_loss", Double),
    Column("metrics", Text),  # JSON: name to value
    Column("seconds", Double, nullable=False),
    _created(),
)

checkpoint = Table(
    "checkpoint",
    METADATA,
    _key(),
    _to("run"),
    Column("step", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("host", Text),  # that wrote it; NULL where a release wrote it that did not say
    Column("sha256", LargeBinary(32), nullable=False),
    Column("is_best", Boolean(create_constraint=False), nullable=False),
    _created(),
    Index("uq_checkpoint_run_id_step", "run_id", "step", unique=True),
)

remark = Table(
    "remark",
    METADATA,
    _key(),
    _to("run"),
    Column("kind", Text, nullable=False),  # bad picture, empty caption, duplicate, cut, memory, ...
    Column("name", Text, nullable=False, default=""),  # of the picture that it is about
    Column("message", Text, nullable=False),
    _created(),
    Index("uq_remark_run_id_kind_name_message", "run_id", "kind", "name", "message", unique=True),
)

evaluation = Table(
    "evaluation",
    METADATA,
    _key(),
    _to("run", nullable=True, index=True),
    Column("data", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("low", Double),  # of the 95 % bootstrap interval
    Column("high", Double),
    Column("pictures", Integer, nullable=False),
    _created(),
)

# SQLite gives a deleted row's id to the next one, unless it is told not to: somebody may still hold the old one.
for _table in METADATA.tables.values():
    _table.dialect_options["sqlite"]["autoincrement"] = "id" in _table.c
