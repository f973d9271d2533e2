"""The training loop: AdamW under a one-cycle schedule, early stopping on validation rows, the best weights kept."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor

from training.models import Phase, StepContext

STEPS = 3000
LEARNING_RATE = 2e-3  # the cycle's peak
WEIGHT_DECAY = 1e-4
CHECK_EVERY = 50  # steps
PATIENCE = 12  # checks without a better loss
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
    def batch(self) -> int:
        """The number of examples of a training step."""

    @property
    def step_divisor(self) -> int:
        """The divisor of the number of training steps."""

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


class FitResult(NamedTuple):
    """The outcome of a fit."""

    steps: int
    best_step: int
    loss: float  # validation loss of the best step, nats a row


class FitProgress(NamedTuple):
    """The progress of a fit."""

    step: int
    steps: int
    loss: float
    best: float


ProgressCallback = Callable[[FitProgress], None]


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


def ignore_progress(progress: FitProgress) -> None:
    """Do nothing: the default callback."""
    del progress


def fit_steps(model: Trainable[E], training: E, corrupt: Corrupt[E], steps: int, seed: int) -> FitResult:
    """Train `model` in place for a given number of steps, under the schedule of `fit`."""
    generator = torch.Generator(device=training.device).manual_seed(seed)
    usual_steps = STEPS // model.step_divisor
    optimisers = [_PhaseOptimiser(phase, usual_steps) for phase in model.phases()]
    hide = model.hiding(training)
    model.train()
    for step in range(1, steps + 1):
        clean = hide(_draw_batch(training, model.batch, generator), generator)
        noisy = corrupt(clean, model.features, generator)
        for optimiser in optimisers:
            optimiser.step(noisy, clean, StepContext(step / usual_steps, generator))
    model.eval()
    return FitResult(steps, steps, float("nan"))


def fit(
    model: Trainable[E], training: E, validation: E, corrupt: Corrupt[E], seed: int, on_progress: ProgressCallback
) -> FitResult:
    """Train `model` in place and keep the best weights; Ctrl-C ends training with the best weights so far."""
    generator = torch.Generator(device=training.device).manual_seed(seed)
    steps = STEPS // model.step_divisor
    optimisers = [_PhaseOptimiser(phase, steps) for phase in model.phases()]
    held_out = _ValidationLoss(model, validation, corrupt, seed)
    hide = model.hiding(training)
    if not optimisers:  # nothing is trained by gradients
        model.eval()
        return FitResult(0, 0, held_out.compute())
    best, weights, best_step, step = held_out.compute(), copy.deepcopy(model.state_dict()), 0, 0
    try:
        for step in range(1, steps + 1):
            clean = hide(_draw_batch(training, model.batch, generator), generator)
            noisy = corrupt(clean, model.features, generator)
            for optimiser in optimisers:
                optimiser.step(noisy, clean, StepContext(step / steps, generator))
            if step % CHECK_EVERY and step != steps:
                continue
            loss = held_out.compute()
            on_progress(FitProgress(step, steps, loss, min(best, loss)))
            if loss < best:
                best, weights, best_step = loss, copy.deepcopy(model.state_dict()), step
            elif step - best_step >= PATIENCE * CHECK_EVERY // model.step_divisor:
                break
    except KeyboardInterrupt:
        if best_step == 0:
            raise
    model.load_state_dict(weights)
    model.eval()
    return FitResult(step, best_step, best)


class _PhaseOptimiser:
    """The optimiser and the schedule of one phase."""

    def __init__(self, phase: Phase, steps: int) -> None:
        self.phase = phase
        self.optimiser = torch.optim.AdamW(phase.parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, max_lr=LEARNING_RATE, total_steps=steps)

    def step(self, noisy: TrainingExamples, clean: TrainingExamples, context: StepContext) -> None:
        """Minimise the loss of a batch by one step; first clear the gradients that other phases left."""
        self.optimiser.zero_grad()
        self.phase.loss(noisy, clean, context).mean().backward()
        self.optimiser.step()
        self.schedule.step()


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
