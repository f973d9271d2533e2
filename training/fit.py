"""The one training loop: AdamW under a one-cycle schedule, early stopping on held-out rows, the best weights kept."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from training import corruption
from training.corruption import Corruption
from training.features import Cells
from training.models import Model

STEPS = 3000
BATCH = 256
LEARNING_RATE = 2e-3  # the cycle's peak
WEIGHT_DECAY = 1e-4
CHECK_EVERY = 50  # steps
PATIENCE = 12  # checks without a better loss
MOST_VALIDATION = 8192  # rows


class Fit(NamedTuple):
    """What a fit came to."""

    steps: int
    best_step: int
    loss: float  # validation loss of the best step, nats a row


class Progress(NamedTuple):
    """How far a fit has come, for whoever watches."""

    step: int
    steps: int
    loss: float
    best: float


Watch = Callable[[Progress], None]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Train on one processor thread: networks this small lose more to synchronisation than they win."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def unwatched(progress: Progress) -> None:
    """Let a fit go unwatched."""
    del progress


def fit(model: Model, training: Cells, validation: Cells, corrupt: Corruption, seed: int, watch: Watch) -> Fit:
    """Train `model` in place and leave the best weights in it; Ctrl-C ends training with what is best so far."""
    generator = torch.Generator(device=training.present.device).manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=LEARNING_RATE, total_steps=STEPS)
    held_out = _HeldOut(model, validation, corrupt, seed)
    best, weights, best_step, step = held_out.loss(), copy.deepcopy(model.state_dict()), 0, 0
    try:
        for step in range(1, STEPS + 1):
            batch = _batch(training, generator)
            _step(model, optimiser, batch, corrupt, step / STEPS, generator)
            schedule.step()
            if step % CHECK_EVERY and step != STEPS:
                continue
            loss = held_out.loss()
            watch(Progress(step, STEPS, loss, min(best, loss)))
            if loss < best:
                best, weights, best_step = loss, copy.deepcopy(model.state_dict()), step
            elif step - best_step >= PATIENCE * CHECK_EVERY:
                break
    except KeyboardInterrupt:
        if best_step == 0:
            raise
    model.load_state_dict(weights)
    model.eval()
    return Fit(step, best_step, best)


class _HeldOut:
    """The loss on validation rows, always under the same noise so that checks can be compared."""

    def __init__(self, model: Model, cells: Cells, corrupt: Corruption, seed: int) -> None:
        device = cells.present.device
        rows = torch.arange(min(len(cells.present), MOST_VALIDATION), device=device)
        self.model = model
        self.clean = cells.take(rows)
        self.noisy = corrupt(self.clean, model.features, torch.Generator(device=device).manual_seed(seed))
        self.seed = seed

    def loss(self) -> float:
        generator = torch.Generator(device=self.clean.present.device).manual_seed(self.seed)
        with torch.no_grad():
            return float(self.model.loss(self.noisy, self.clean, 1.0, generator).mean())


def _batch(cells: Cells, generator: torch.Generator) -> Cells:
    """Draw rows for one step."""
    rows = len(cells.present)
    drawn = torch.randint(rows, (min(BATCH, rows),), generator=generator, device=cells.present.device)
    return cells.take(drawn)


def _step(
    model: Model,
    optimiser: torch.optim.Optimizer,
    batch: Cells,
    corrupt: Corruption,
    progress: float,
    generator: torch.Generator,
) -> Tensor:
    """Take one step on a batch of clean rows."""
    clean = corruption.hide(batch, generator)
    noisy = corrupt(clean, model.features, generator)
    loss = model.loss(noisy, clean, progress, generator).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss
