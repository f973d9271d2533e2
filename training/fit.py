"""The training loop: AdamW under a one-cycle schedule, early stopping on validation rows, the best weights kept."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import polars as pl
import torch
from torch import Tensor

from detector.history import SCHEMA
from training.models import Phase, StepContext
from training.settings import NetworkSettings, VariantSettings

STEPS = 3000  # the usual number
WEIGHT_DECAY = 1e-4
CHECK_EVERY = 50  # steps
MAX_VALIDATION = 8192  # rows


class TrainingExamples(Protocol):
    """The examples that a network is trained on: rows, or windows of a series."""

    @property
    def rows(self) -> int:
        """The number of examples."""

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""

    def take(self, rows: Tensor, /) -> Self:
        """Return the examples at these indices."""


E = TypeVar("E", bound=TrainingExamples)
Corrupt = Callable[[E, Any, torch.Generator], E]  # the features in the middle


class Trainable(Protocol[E]):
    """A module with its losses."""

    @property
    def step_divisor(self) -> int:
        """The divisor of the usual number of training steps."""

    @property
    def features(self) -> Any:  # noqa: ANN401 - whatever the corruption takes
        """The features, for the corruption."""

    def hiding(self, training: E, /) -> Callable[[E, torch.Generator], E]:
        """Return the function that hides cells in training."""

    def phases(self) -> list[Phase]:
        """Return the phases of a training step, in order."""

    def loss(self, noisy: E, clean: E, context: StepContext, /) -> Tensor:
        """Return the loss that validation monitors, `[rows]`."""

    def state_dict(self) -> dict[str, Any]:
        """Return the weights."""

    def load_state_dict(self, weights: dict[str, Any], /) -> object:
        """Set the weights."""

    def train(self) -> object:
        """Switch to training mode."""

    def eval(self) -> object:
        """Switch to evaluation mode."""


class Check(NamedTuple):
    """The losses at a step, nats a row."""

    step: int
    training: float | None  # mean since the check before; None before the first step
    validation: float


class FitResult(NamedTuple):
    """The outcome of a fit; of several, medians of the steps."""

    steps: int
    best_step: int
    loss: float  # validation loss of the best step, nats a row
    history: tuple[tuple[Check, ...], ...] = ()  # the checks of each fit


class FitProgress(NamedTuple):
    """The progress of a fit."""

    step: int
    steps: int
    loss: float
    best: float


ProgressCallback = Callable[[FitProgress], None]
PhaseCallback = Callable[[str], None]  # the name of a phase of training that begins


def ignore_progress(progress: FitProgress) -> None:
    """Do nothing: the default callback."""
    del progress


def ignore_phase(phase: str) -> None:
    """Do nothing: the default callback."""
    del phase


class Callbacks(NamedTuple):
    """What is called while a model is fitted: after each check of the validation loss, and when a phase begins."""

    on_progress: ProgressCallback = ignore_progress
    on_phase: PhaseCallback = ignore_phase


NO_CALLBACKS = Callbacks()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: networks this small lose more to synchronisation than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Run torch on one thread, with its random generator seeded and then restored."""
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        yield


def history_csv(result: FitResult) -> bytes:
    """Return the content of `history.csv`: the checks of each fit, counted from 1."""
    rows = [(number, *check) for number, checks in enumerate(result.history, 1) for check in checks]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").write_csv().encode()


def combine(folds: Sequence[FitResult]) -> FitResult:
    """Return the outcome of fits from which parts of the rows were held out."""
    steps, best_step = (int(np.median(counts)) for counts in zip(*(fold[:2] for fold in folds), strict=True))
    history = tuple(itertools.chain.from_iterable(fold.history for fold in folds))
    return FitResult(steps, best_step, float(np.mean([fold.loss for fold in folds])), history)


def fit_steps(model: Trainable[E], training: E, corrupt: Corrupt[E], steps: int, settings: VariantSettings, seed: int) -> None:
    """Train `model` in place for a given number of steps, under the schedule of `fit`."""
    if steps:
        run = _TrainingRun(model, training, corrupt, _schedule(settings, model.step_divisor), seed)
        model.train()
        for _ in itertools.islice(run.steps(), steps):
            pass
    model.eval()


def fit(
    model: Trainable[E],
    training: E,
    validation: E,
    corrupt: Corrupt[E],
    settings: VariantSettings,
    seed: int,
    on_progress: ProgressCallback,
) -> FitResult:
    """Train `model` in place and keep the best weights; Ctrl-C ends training with the best weights so far.

    A model that is still learning at the end of its steps is trained on, in cycles of as many steps, up to `max_steps`.
    """
    held_out = _ValidationLoss(model, validation, corrupt, seed)
    if not model.phases():  # nothing is trained by gradients
        model.eval()
        return FitResult(0, 0, held_out.compute())
    schedule = _schedule(settings, model.step_divisor)
    run = _TrainingRun(model, training, corrupt, schedule, seed)
    best, weights, best_step, step = held_out.compute(), copy.deepcopy(model.state_dict()), 0, 0
    history = [Check(0, None, best)]
    try:
        for step in run.steps():
            is_last = schedule.ends_cycle(step)
            if step % CHECK_EVERY and not is_last:
                continue
            loss = held_out.compute()
            history.append(Check(step, run.mean_loss(), loss))
            on_progress(FitProgress(step, schedule.end_of_cycle(step), loss, min(best, loss)))
            if loss < best:
                best, weights, best_step = loss, copy.deepcopy(model.state_dict()), step
            elif step <= schedule.steps and step - best_step >= schedule.patience * CHECK_EVERY:
                break
            if is_last and best_step < step:
                break
    except KeyboardInterrupt:
        if best_step == 0:
            raise
    model.load_state_dict(weights)
    model.eval()
    return FitResult(step, best_step, best, (tuple(history),))


class _Schedule(NamedTuple):
    """How long a model is trained, and how fast it learns: one cycle of steps, and further ones up to `max_steps`."""

    steps: int
    max_steps: int
    learning_rate: float
    batch: int
    patience: int  # checks without a better loss in the first cycle; a further cycle starts by unlearning

    def ends_cycle(self, step: int) -> bool:
        """Return whether a step is the last of its cycle."""
        return step == self.end_of_cycle(step)

    def end_of_cycle(self, step: int) -> int:
        """Return the last step of the cycle that a step belongs to."""
        return min(-(-step // self.steps) * self.steps, self.max_steps)


def _schedule(settings: VariantSettings, step_divisor: int) -> _Schedule:
    """Return the schedule of a network's settings; a maximum below the usual number of steps shortens it."""
    assert isinstance(settings, NetworkSettings)  # noqa: S101 - a model with phases has a network
    steps = settings.steps or STEPS // step_divisor
    max_steps = settings.max_steps or steps
    return _Schedule(min(steps, max_steps), max_steps, settings.learning_rate, settings.batch, settings.patience)


class _TrainingRun(Generic[E]):
    """The steps of training."""

    def __init__(self, model: Trainable[E], training: E, corrupt: Corrupt[E], schedule: _Schedule, seed: int) -> None:
        self._model = model
        self._training = training
        self._corrupt = corrupt
        self._schedule = schedule
        self._generator = torch.Generator(device=training.device).manual_seed(seed)
        self._optimisers = [_PhaseOptimiser(phase, schedule.learning_rate) for phase in model.phases()]
        self._losses: list[Tensor] = []

    def steps(self) -> Iterator[int]:
        """Train a step at a time, and yield its number, from 1."""
        schedule, generator = self._schedule, self._generator
        hide = self._model.hiding(self._training)
        for step in range(1, schedule.max_steps + 1):
            if (step - 1) % schedule.steps == 0:
                for optimiser in self._optimisers:
                    optimiser.start_cycle(schedule.end_of_cycle(step) - step + 1)
            clean = hide(_draw_batch(self._training, schedule.batch, generator), generator)
            noisy = self._corrupt(clean, self._model.features, generator)
            losses = [
                optimiser.step(noisy, clean, StepContext(step / schedule.steps, generator)) for optimiser in self._optimisers
            ]
            self._losses.append(losses[0])
            yield step

    def mean_loss(self) -> float:
        """Return the mean training loss of the steps since the last call: that of the first phase."""
        mean = float(torch.stack(self._losses).mean())
        self._losses.clear()
        return mean


class _PhaseOptimiser:
    """The optimiser and the schedule of one phase."""

    schedule: torch.optim.lr_scheduler.OneCycleLR

    def __init__(self, phase: Phase, learning_rate: float) -> None:
        self.phase = phase
        self.learning_rate = learning_rate
        self.optimiser = torch.optim.AdamW(phase.parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY)

    def start_cycle(self, steps: int) -> None:
        """Start a cycle of the learning rate."""
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, max_lr=self.learning_rate, total_steps=steps)

    def step(self, noisy: TrainingExamples, clean: TrainingExamples, context: StepContext) -> Tensor:
        """Minimise the loss of a batch by one step and return it; first clear the gradients that other phases left."""
        self.optimiser.zero_grad()
        loss = self.phase.loss(noisy, clean, context).mean()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return loss.detach()


class _ValidationLoss(Generic[E]):
    """The loss on validation examples, always under the same noise so that values are comparable."""

    def __init__(self, model: Trainable[E], examples: E, corrupt: Corrupt[E], seed: int) -> None:
        device = examples.device
        rows = torch.arange(min(examples.rows, MAX_VALIDATION), device=device)
        self.model = model
        self.clean = examples.take(rows)
        self.noisy = corrupt(self.clean, model.features, torch.Generator(device=device).manual_seed(seed))
        self.seed = seed

    def compute(self) -> float:
        """Return the current loss of the model, in evaluation mode."""
        generator = torch.Generator(device=self.clean.device).manual_seed(self.seed)
        self.model.eval()
        with torch.no_grad():
            loss = float(self.model.loss(self.noisy, self.clean, StepContext(1.0, generator)).mean())
        self.model.train()
        return loss


def _draw_batch(examples: E, size: int, generator: torch.Generator) -> E:
    """Draw the examples of one step, with replacement."""
    rows = examples.rows
    drawn = torch.randint(rows, (min(size, rows),), generator=generator, device=examples.device)
    return examples.take(drawn)
