"""The one training loop: AdamW under a one-cycle schedule, early stopping on held-out rows, the best weights kept."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor

from training.models import Moment, Phase

STEPS = 3000
LEARNING_RATE = 2e-3  # the cycle's peak
WEIGHT_DECAY = 1e-4
CHECK_EVERY = 50  # steps
PATIENCE = 12  # checks without a better loss
MOST_VALIDATION = 8192  # rows


class Examples(Protocol):
    """What a network learns from: rows, or windows of them."""

    @property
    def rows(self) -> int:
        """How many there are."""

    @property
    def device(self) -> torch.device:
        """Where they are."""

    def take(self, rows: Tensor, /) -> Self:
        """Give some of them."""


E = TypeVar("E", bound=Examples)
Corrupt = Callable[[E, Any, torch.Generator], E]  # the features in the middle


class Learner(Protocol[E]):
    """What is trained: a module with its losses."""

    @property
    def batch(self) -> int:
        """How many examples it learns from in a step."""

    @property
    def slowness(self) -> int:
        """By how much fewer steps it takes than a dense network."""

    @property
    def features(self) -> Any:  # noqa: ANN401 - what its corruption wants to know
        """What its inputs are."""

    def hiding(self, training: E, /) -> Callable[[E, torch.Generator], E]:
        """Give what hides cells in training."""

    def phases(self) -> list[Phase]:
        """Give what a step of training minimises, in order."""

    def loss(self, noisy: E, clean: E, moment: Moment, /) -> Tensor:
        """Give what validation watches."""

    def state_dict(self) -> dict[str, Any]:
        """Give the weights."""

    def load_state_dict(self, weights: dict[str, Any], /) -> object:
        """Take weights."""

    def train(self) -> object:
        """Begin to train."""

    def eval(self) -> object:
        """End training."""


class Fit(NamedTuple):
    """What a fit came to."""

    steps: int
    best_step: int
    loss: float  # validation loss of the best step, nats a row


class FitProgress(NamedTuple):
    """How far a fit has come, for whoever watches."""

    step: int
    steps: int
    loss: float
    best: float


ProgressCallback = Callable[[FitProgress], None]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Train on one processor thread: networks this small lose more to synchronisation than they win."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def ignore_progress(progress: FitProgress) -> None:
    """Let a fit go ignore_progress."""
    del progress


def fit_for(model: Learner[E], training: E, steps: int, seed: int) -> Fit:
    """Train `model` in place for so many steps as were best elsewhere, under the schedule of `fit`."""
    generator = torch.Generator(device=training.device).manual_seed(seed)
    drivers = [_Driver(phase, STEPS) for phase in model.phases()]
    hide = model.hiding(training)
    model.train()
    for step in range(1, steps + 1):
        clean = hide(_batch(training, model.batch, generator), generator)
        for driver in drivers:
            driver.step(clean, clean, Moment(step / STEPS, generator))
    model.eval()
    return Fit(steps, steps, float("nan"))


def fit(model: Learner[E], training: E, validation: E, corrupt: Corrupt[E], seed: int, watch: ProgressCallback) -> Fit:
    """Train `model` in place and leave the best weights in it; Ctrl-C ends training with what is best so far."""
    generator = torch.Generator(device=training.device).manual_seed(seed)
    steps = STEPS // model.slowness
    drivers = [_Driver(phase, steps) for phase in model.phases()]
    held_out = _HeldOut(model, validation, corrupt, seed)
    hide = model.hiding(training)
    best, weights, best_step, step = held_out.loss(), copy.deepcopy(model.state_dict()), 0, 0
    try:
        for step in range(1, steps + 1):
            clean = hide(_batch(training, model.batch, generator), generator)
            noisy = corrupt(clean, model.features, generator)
            for driver in drivers:
                driver.step(noisy, clean, Moment(step / steps, generator))
            if step % CHECK_EVERY and step != steps:
                continue
            loss = held_out.loss()
            watch(FitProgress(step, steps, loss, min(best, loss)))
            if loss < best:
                best, weights, best_step = loss, copy.deepcopy(model.state_dict()), step
            elif step - best_step >= PATIENCE * CHECK_EVERY // model.slowness:
                break
    except KeyboardInterrupt:
        if best_step == 0:
            raise
    model.load_state_dict(weights)
    model.eval()
    return Fit(step, best_step, best)


class _Driver:
    """One phase's optimiser and schedule."""

    def __init__(self, phase: Phase, steps: int) -> None:
        self.phase = phase
        self.optimiser = torch.optim.AdamW(phase.parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, max_lr=LEARNING_RATE, total_steps=steps)

    def step(self, noisy: Examples, clean: Examples, moment: Moment) -> None:
        """Take one step on a batch; gradients that other phases left behind are cleared first."""
        self.optimiser.zero_grad()
        self.phase.loss(noisy, clean, moment).mean().backward()
        self.optimiser.step()
        self.schedule.step()


class _HeldOut(Generic[E]):
    """The loss on validation rows, always under the same noise so that checks can be compared."""

    def __init__(self, model: Learner[E], examples: E, corrupt: Corrupt[E], seed: int) -> None:
        device = examples.device
        rows = torch.arange(min(examples.rows, MOST_VALIDATION), device=device)
        self.model = model
        self.clean = examples.take(rows)
        self.noisy = corrupt(self.clean, model.features, torch.Generator(device=device).manual_seed(seed))
        self.seed = seed

    def loss(self) -> float:
        """Give the loss of the model as it stands; nothing fails at random while it is taken."""
        generator = torch.Generator(device=self.clean.device).manual_seed(self.seed)
        self.model.eval()
        with torch.no_grad():
            loss = float(self.model.loss(self.noisy, self.clean, Moment(1.0, generator)).mean())
        self.model.train()
        return loss


def _batch(examples: E, most: int, generator: torch.Generator) -> E:
    """Draw rows for one step."""
    rows = examples.rows
    drawn = torch.randint(rows, (min(most, rows),), generator=generator, device=examples.device)
    return examples.take(drawn)
