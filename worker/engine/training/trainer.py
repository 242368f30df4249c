"""The loop: epochs of steps, validation, early stop, checkpoints; a generator of events."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from blipq.worker.engine.pool import DecodePool
from blipq.worker.engine.training import checkpoint
from blipq.worker.engine.training.checkpoint import Standing
from blipq.worker.engine.training.evaluation import CIDER_MINIMUM, captions, cider, compare
from blipq.worker.engine.training.events import (
    Done,
    Epoch,
    Event,
    Note,
    Progress,
    Saved,
    Started,
    Step,
    Stopped,
    TrainingError,
)
from blipq.worker.engine.training.examples import collate, steps
from blipq.worker.engine.training.material import Material, prepare
from blipq.worker.engine.training.network import inference
from blipq.worker.engine.training.objective import cross_entropy
from blipq.worker.engine.training.pictures import LIMITS, cores
from blipq.worker.engine.training.plan import Plan
from blipq.worker.engine.training.ranks import Ranks
from blipq.worker.engine.training.schedule import rate
from blipq.worker.engine.training.stepper import NonFinite, Stepper

# Seconds between checkpoints inside epochs: what a crash costs at the most.
INTERVAL = 600.0

Result = TypeVar("Result")


def train(plan: Plan, resume: Path | None = None, stopping: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """Fine-tune by a plan; from a checkpoint where `resume` names one, with the losses an unbroken run would give.

    `stopping` is asked after each step: once true, a checkpoint is written and `Stopped` is the last event.

    Raises TrainingError: one line, what is wrong and what to do; complete checkpoints stay valid.
    """
    ranks = Ranks(plan.devices)
    threads = max(1, min(16, cores() // ranks.count))
    try:
        with ThreadPoolExecutor(threads) as pool, DecodePool(threads, LIMITS) as decoders:
            before = _before(plan, resume, ranks, decoders, pool, threads)
            while True:
                try:
                    event = next(before)
                except StopIteration as end:
                    material: Material = end.value
                    break
                yield event
                if ranks.count == 1 and stopping():
                    yield Stopped(0, str(resume) if resume else None)
                    return
            yield from Run(material, resume, stopping).events()
    finally:
        ranks.leave()


def _before(
    plan: Plan, resume: Path | None, ranks: Ranks, decoders: DecodePool, pool: ThreadPoolExecutor, threads: int
) -> Generator[Event, None, Material]:
    """All that comes before the first step."""
    material = yield from prepare(plan, resume, ranks, decoders, pool, threads)
    features = material.features
    if ranks.first:
        each = checkpoint.size(material.network)
        checkpoint.demand_room(material.plan, each, features.bytes if features else 0)
    if features is not None:
        yield from features.fill(material.pictures, pool, threads, ranks)
    return material


class _Asked(Exception):
    """Asked to stop."""


class Run:
    """A prepared run, from where it stands to its end."""

    def __init__(self, material: Material, resume: Path | None, stopping: Callable[[], bool]) -> None:
        self.material, self.plan = material, material.plan
        self.epochs = material.plan.epochs or 1
        self.stepper = Stepper(material.network, material.plan, material.precision, material.ranks)
        self.standing = Standing()
        self.best: Path | None = None  # None: no epoch has been judged
        if resume is not None:
            moments, self.standing = checkpoint.read(resume, self.plan)
            self.stepper.restore(moments, self.standing)
            self._find_best(resume)
        self.newest = resume
        self.saved_step = self.standing.step if resume else -1
        self.saved_at = time.monotonic()
        self.stopping = stopping

    @property
    def over(self) -> bool:
        """Whether no epoch is left, or patience is at its end."""
        patience = self.plan.patience or 0
        return self.standing.epoch >= self.epochs or (patience > 0 and self.standing.stale >= patience)

    def events(self) -> Iterator[Event]:
        """Train to the end or until asked to stop; then compare base and tuned."""
        yield self._started()
        try:
            while not self.over:
                yield from self._steps()
                yield from self._close_epoch()
            yield from self._save()
            standing, out = self.standing, Path(self.plan.out)
            best = self.best or out / standing.best_name
            del self.stepper  # its moments are twice the model: room for the two that are compared
            self.material.ranks.wait()
            yield from self._watched(compare(self.material, best, standing.best_step))
        except _Asked:
            yield from self._save()
            yield Stopped(self.standing.step, str(self.newest))
            return
        if self.material.ranks.first and self.plan.prune:
            checkpoint.prune(out, self.plan.keep, standing.best_name)
        reason = "all epochs are done" if standing.epoch >= self.epochs else "the validation no longer improved"
        yield Done(
            standing.step, standing.epoch, reason, standing.best_step, str(best), standing.best_loss, standing.spent
        )

    def _started(self) -> Started:
        material, model = self.material, self.material.network.model
        return Started(
            plan=self.plan.to_json(),
            pictures=len(material.corpus.train),
            pairs=len(material.train),
            validation_pictures=len(material.corpus.validation),
            validation_pairs=len(material.validation),
            steps=self.epochs * material.steps_an_epoch,
            step=self.standing.step,
            trainable=sum(weight.numel() for weight in self.stepper.learning.values()),
            parameters=sum(weight.numel() for weight in model.parameters()),
            precision=material.precision.name,
            device=str(material.ranks.device),
            devices=material.ranks.count,
        )

    def _steps(self) -> Iterator[Event]:
        """What is left of the present epoch."""
        material, standing, plan = self.material, self.standing, self.plan
        todo = list(steps(len(material.train), material.batch, plan.seed, standing.epoch, standing.row))
        views = material.views((material.share(rows) for rows in todo), standing.epoch)
        began = time.perf_counter()
        for rows, (examples, view) in zip(todo, views, strict=True):
            lr = rate(
                plan.schedule, plan.lr or 0.0, standing.step, self.epochs * material.steps_an_epoch,
                standing.epoch, self.epochs, plan.warmup,
            )  # fmt: skip
            total = sum(material.train[row].targets for row in rows)
            try:
                outcome = self.stepper.step(examples, view, total, standing.step, lr)
            except NonFinite:
                names = sorted({material.photo(material.train[row].photo).name for row in rows})
                raise TrainingError(
                    "loss",
                    f"the loss of step {standing.step + 1} is no finite number; its pictures: {', '.join(names)}. "
                    "Lower --lr, or look at these pairs; the last checkpoint is good",
                ) from None
            now = time.perf_counter()
            seconds, began = now - began, now
            standing.step += 1
            standing.row += 1
            standing.loss += outcome.unsmoothed * total
            standing.tokens += total
            standing.seconds += seconds
            standing.spent += seconds
            if outcome.halved:
                yield Note("memory", f"memory ran out: {self.stepper.micro} pairs at a time from here, same losses")
            yield Step(
                step=standing.step,
                epoch=standing.epoch + 1,
                loss=outcome.loss,
                unsmoothed=outcome.unsmoothed,
                lr=lr,
                grad_norm=outcome.grad_norm,
                seconds=seconds,
                images=len(rows),
            )
            if self._asked():
                raise _Asked
            # After an epoch's last step its judgement comes first, and a checkpoint only then.
            if self._due() and standing.row < material.steps_an_epoch:
                yield from self._save()
                began = time.perf_counter()

    def _due(self) -> bool:
        """Whether the last checkpoint is too long ago."""
        every = self.plan.checkpoint_every
        if every:
            return self.standing.step - max(0, self.saved_step) >= every
        return time.monotonic() - self.saved_at > INTERVAL

    def _asked(self) -> bool:
        """Whether any process was asked to stop: all stop after the same step."""
        asked = self.stopping()
        return self.material.ranks.sum([float(asked)])[0] > 0

    def _watched(self, work: Generator[Event, None, Result]) -> Generator[Event, None, Result]:
        """Work between steps, left where it is when asked to stop: a resume does it again.

        Several processes do it to the end: they do not all reach the same point of it.
        """
        while True:
            try:
                event = next(work)
            except StopIteration as end:
                result: Result = end.value
                return result
            yield event
            if self.material.ranks.count == 1 and self.stopping():
                raise _Asked

    def _close_epoch(self) -> Iterator[Event]:
        """Validate, judge, and save where it is the best so far."""
        standing = self.standing
        loss: float | None = None
        metrics: dict[str, float] = {}
        if self.material.validation:
            loss = yield from self._watched(self._validate())
            if len(self.material.corpus.validation) >= CIDER_MINIMUM:
                metrics = yield from self._watched(self._score())
        judged = -metrics["cider_d"] if metrics else loss
        better = judged is None or standing.best is None or judged < standing.best
        mean = standing.loss / max(1, standing.tokens)
        standing.epoch += 1
        yield Epoch(standing.epoch, standing.step, mean, loss, metrics, standing.seconds)
        standing.row = standing.tokens = 0
        standing.loss = standing.seconds = 0.0
        standing.stale = 0 if better else standing.stale + 1
        if better and judged is not None:
            standing.best, standing.best_loss = judged, loss
            self._is_best()
            yield from self._save(again=True)
        elif self._due():
            yield from self._save()

    def _validate(self) -> Generator[Event, None, float]:
        """The unsmoothed loss a token on the held-out pairs."""
        material = self.material
        mine = material.validation[material.ranks.index :: material.ranks.count]
        loss = count = 0.0
        size = self.stepper.micro
        parts = (mine[start : start + size] for start in range(0, len(mine), size))
        for number, (examples, view) in enumerate(material.views(parts, None)):
            tokens = collate(examples, material.network.pad, material.ranks.device)
            with inference(material.network), material.precision.context():
                found = material.network.logits(view(slice(None)), tokens.inputs, tokens.present, tokens.scored)
            _, unsmoothed = cross_entropy(found, tokens.targets, 0.0)
            loss += unsmoothed.item()
            count += len(tokens.targets)
            yield Progress("validation", min((number + 1) * size, len(mine)), len(mine))
        loss, count = material.ranks.sum([loss, count])
        return loss / count

    def _score(self) -> Generator[Event, None, dict[str, float]]:
        """CIDEr-D of the held-out pictures' captions."""
        first = len(self.material.corpus.train)
        texts = yield from captions(self.material, range(first, first + len(self.material.corpus.validation)))
        return {"cider_d": cider(self.material, texts)}

    def _save(self, again: bool = False) -> Iterator[Event]:
        """Write a checkpoint, unless this step has one (`again`: it has become the best since)."""
        standing, plan = self.standing, self.plan
        if self.saved_step == standing.step and not again:
            return
        if not self.material.validation:
            self._is_best()
        self.saved_step, self.saved_at = standing.step, time.monotonic()
        if not self.material.ranks.first:
            return
        if plan.prune:
            checkpoint.prune(Path(plan.out), plan.keep, standing.best_name)
        path, digest = checkpoint.write(plan, self.material.network, self.stepper.state(), self.stepper.note(standing))
        self.newest = path
        yield Saved(standing.step, str(path), digest, path.name == standing.best_name, standing.best_step)

    def _is_best(self) -> None:
        """What is saved next is the best so far."""
        standing = self.standing
        standing.best_step, standing.best_name = standing.step, checkpoint.name(self.plan, standing.step)
        self.best = Path(self.plan.out) / standing.best_name

    def _find_best(self, resume: Path) -> None:
        """Where the best checkpoint lies that a resumed run knows of.

        It may be lost, since a better one took its place that is lost too. Then the one gone on from counts as the
        best, until an epoch is judged.
        """
        standing = self.standing
        if not standing.best_name:
            return
        beside = resume.with_name(standing.best_name)
        self.best = Path(self.plan.best) if self.plan.best else beside
        if (self.best / checkpoint.WEIGHTS).is_file() and (self.best != resume or beside == resume):
            return
        self.best, standing.best_step, standing.best_name = resume, standing.step, resume.name
        standing.best = standing.best_loss = None
        standing.stale = 0
