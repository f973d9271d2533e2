"""A memory of normal rows: prototypes with a bandwidth each, and attention over them.

A row asks "which normal rows is this like?": the answer is a kernel-weighted mean of prototypes (Nadaraya 1964; Watson 1964),
which as softmax attention is two matrix products; compare memory-augmented autoencoders (Gong et al. 2019). Two scores come
of it: *crowd*, the negative log-density of an adaptive kernel estimate (Breiman et al. 1977; Abramson 1982), in nats, and
*recall*, the squared distance between a row and the mean that it recalls.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from training.features import SQUASH, Features, select_columns
from training.networks.likeness import likeness as kernels

PASSES = 8  # of k-means
HELD_OUT = 5  # one row in so many chooses the bandwidth where not all rows are prototypes
MAX_HELD_OUT = 4096  # rows
QUANTILES = (0.5, 0.9)  # of normal rows' scores: the middle and the spread that scores are compared by
NEIGHBOUR = 5  # the bandwidth follows the distance to this neighbour
MAX_NEIGHBOUR, MIN_KEPT = 200, 4  # where rows are left out: neighbours to look at, and rows to keep
ADAPTIVE = 0.5  # how far it does: 0 is one bandwidth for all (Abramson's square root)
MIN_DISTANCE, MAX_DISTANCE = 0.01, 2.0  # of the median squared distance to that neighbour
FACTORS = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.7, 3.0, 5.0)  # of the bandwidth, squared
LIMIT = 20.0  # standard deviations; a single cell beyond it counts as much
FARTHEST = 60.0  # on the logarithmic scale of inputs: what is recalled stays finite in the user's units
MIN_SPREAD = 1e-6  # standard deviations
MIN_VARIANCE = 1e-3  # of a category's one-hot codes
TINY = 1e-6  # the smallest probability of a recalled category


class Recalled(NamedTuple):
    """What a memory says about rows; values are standardised features and one-hot codes."""

    values: Tensor  # float64[rows, values], the row itself; 0 where missing
    known: Tensor  # float64[rows, values], 1 where the cell is present
    mean: Tensor  # float64[rows, values], the attention-weighted mean of the prototypes
    sharpness: Tensor  # float64[rows, 1], the attention-weighted mean of 1 / bandwidth
    crowd: Tensor  # float64[rows, 1], nats


class Memory(nn.Module):
    """A network whose code is the row that it recalls; it is learned in one pass, without gradients."""

    centre: Tensor  # float64[values]
    spread: Tensor  # float64[values]
    prototypes: Tensor  # float64[prototypes, values]
    log_weight: Tensor  # float64[prototypes]: the logarithm of how many rows one stands for, over the mean
    bandwidth: Tensor  # float64[prototypes], squared
    usual_recall: Tensor  # float64[values]: of normal rows, the mean of each value's squared distance
    crowd_quantiles: Tensor  # float64[2]: of normal rows, the median and the 90th percentile
    recall_quantiles: Tensor

    def __init__(self, features: Features) -> None:
        """Start with one prototype, to be replaced."""
        super().__init__()
        self.width = width = features.outputs
        self.layout = features.layout
        columns = len(self.layout.modelled)
        self.split = [self.layout.feature_count, columns, sum(self.layout.code_counts)]
        numbers_and_dates = columns - len(self.layout.categories)
        codes = [numbers_and_dates + index for index, count in enumerate(self.layout.code_counts) for _ in range(count)]
        self.owner = (*features.owner, *codes)
        shapes = {"centre": (width,), "spread": (width,), "prototypes": (1, width), "log_weight": (1,), "bandwidth": (1,)}
        shapes |= {"usual_recall": (width,), "crowd_quantiles": (2,), "recall_quantiles": (2,)}
        for name, shape in shapes.items():
            self.register_buffer(name, torch.ones(shape, dtype=torch.float64))

    @property
    def stored_rows(self) -> int:
        """How many prototypes are training rows as they are: all, or none where they are centroids."""
        return len(self.prototypes) if bool((self.log_weight == 0).all()) else 0

    def encode(self, inputs: Tensor) -> Tensor:
        """Return what rows recall, `[rows, inputs] -> [rows, values]`."""
        recalled: Recalled = self(inputs)
        return recalled.mean.to(inputs.dtype)

    def decode(self, latent: Tensor) -> Tensor:
        """Return scaled features and logits, `[..., values]`."""
        width = self.split[0]
        plain = latent.double() * self.spread + self.centre
        bent, hot = plain[..., :width], plain[..., width:]
        size = bent.clamp(-FARTHEST, FARTHEST) / SQUASH
        values = SQUASH * 0.5 * (torch.exp(size) - torch.exp(-size))  # ONNX Runtime's Sinh lacks float64
        return torch.cat([values, torch.log(hot.clamp(min=TINY))], dim=-1).to(latent.dtype)

    def learn(self, inputs: Tensor, size: int, seed: int, contamination: float = 0.0) -> None:
        """Keep at most `size` prototypes of training rows, `[rows, inputs]`, of which a share may be anomalies.

        All rows are kept if they are that few, and the bandwidth is the one under which each row is likeliest given the
        others. More rows are clustered by k-means; then one row in five is held out to choose the bandwidth, and the
        prototypes are those of all rows. How normal rows score is measured on the same rows as the bandwidth. With
        `contamination`, the rows that are farthest from the others are left out.
        """
        plain, known = self._values(inputs)
        self._standardise(plain, known)
        values = self._scaled(plain) * known  # a missing cell is the mean
        values = values[_nearest(values, contamination)]
        if len(values) <= size:
            self._keep(values, torch.ones(len(values)))
            self._choose_bandwidth(values, leave_one_out=True)
            return
        rows = torch.from_numpy(np.random.default_rng(seed).permutation(len(values)))
        held_out, kept = rows.tensor_split([min(len(rows) // HELD_OUT, MAX_HELD_OUT)])
        self._keep(*_cluster(values[kept], size, seed))
        factor = self._choose_bandwidth(values[held_out], leave_one_out=False)
        self._keep(*_cluster(values, size, seed))
        self.bandwidth = self.bandwidth * factor

    def forward(self, inputs: Tensor) -> Recalled:
        """Return what the memory says about rows, `[rows, inputs]`; missing cells take part in no distance."""
        plain, known = self._values(inputs)
        values = self._scaled(plain) * known
        return self._recall(values, known, self._likeness(values, known), inputs.dtype)

    def _values(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and one-hot codes, and 1 where their cell is present: `float64[rows, values]` each."""
        features, present, codes = inputs.double().split(self.split, dim=1)
        return torch.cat([features, codes], dim=1), select_columns(present, self.owner)

    def _scaled(self, plain: Tensor) -> Tensor:
        return ((plain - self.centre) / self.spread).clamp(-LIMIT, LIMIT)

    def _recall(self, values: Tensor, known: Tensor, likeness: Tensor, real: torch.dtype) -> Recalled:
        """Return the attention-weighted mean of prototypes, by their likeness to each row."""
        highest = likeness.max(dim=1, keepdim=True).values
        weight = torch.exp(likeness.to(real) - highest.to(real))
        total = weight.sum(dim=1, keepdim=True)
        table = torch.cat([self.prototypes, 1.0 / self.bandwidth.unsqueeze(1)], dim=1).to(real)
        mean, sharpness = (weight @ table / total).double().split([self.width, 1], dim=1)
        return Recalled(values, known, mean, sharpness, -highest - torch.log(total.double()))

    def _likeness(self, values: Tensor, known: Tensor) -> Tensor:
        """Return the logarithm of each prototype's kernel at each row, weighted: `float64[rows, prototypes]`.

        log w - (known / 2) log h - |values - prototype|^2 / (2 h), as one matrix product: passes over rows x prototypes would
        take most of the time.
        """
        sharpness = 1.0 / self.bandwidth.unsqueeze(1)
        by_known = -0.5 * (self.prototypes**2 * sharpness + torch.log(self.bandwidth).unsqueeze(1))
        weight = self.log_weight.unsqueeze(1)
        by_value, by_square = self.prototypes * sharpness, -0.5 * sharpness
        complete = torch.cat([by_value, weight + by_known.sum(dim=1, keepdim=True), by_square], dim=1)
        marginal = torch.cat([by_value, weight, by_square, by_known], dim=1)
        found: Tensor = kernels(values, known, complete.T, marginal.T)
        return found

    def _standardise(self, plain: Tensor, known: Tensor) -> None:
        """Measure the mean and the deviation of each value over the rows that have it; a category has one for all its codes."""
        rows = known.sum(dim=0).clamp(min=1.0)
        self.centre = (plain * known).sum(dim=0) / rows
        variance = (((plain - self.centre) * known) ** 2).sum(dim=0) / rows
        features, codes = variance.split([self.split[0], self.split[2]])
        counts = self.layout.code_counts
        by_category = [part.sum().clamp(min=MIN_VARIANCE).expand(len(part)) for part in codes.split(counts)] if counts else []
        self.spread = torch.sqrt(torch.cat([features.clamp(min=MIN_SPREAD**2), *by_category]))

    def _keep(self, prototypes: Tensor, rows: Tensor) -> None:
        """Keep prototypes that stand for so many rows each; the bandwidth follows the distances between them."""
        self.prototypes = prototypes
        self.log_weight = torch.log(rows.double() / rows.double().mean()).to(prototypes.device)
        self.bandwidth = _bandwidths(prototypes)

    def _choose_bandwidth(self, values: Tensor, *, leave_one_out: bool) -> float:
        """Scale the bandwidths by the factor under which these rows are likeliest, and return it; measure how they score."""
        usual, known = self.bandwidth, torch.ones_like(values)
        recalled = []
        for factor in FACTORS:
            self.bandwidth = usual * factor
            likeness = self._likeness(values, known)
            if leave_one_out:
                likeness.fill_diagonal_(-math.inf)
            recalled.append(self._recall(values, known, likeness, torch.float64))
        best = int(np.argmin([float(each.crowd.mean()) for each in recalled]))
        self.bandwidth = usual * FACTORS[best]
        squared = (values - recalled[best].mean) ** 2
        self.usual_recall = squared.mean(dim=0)
        self.crowd_quantiles = quantiles(recalled[best].crowd)
        self.recall_quantiles = quantiles(squared.sum(dim=1))
        return FACTORS[best]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:  # noqa: ANN401 - torch's
        """Read the number of prototypes from the weights."""
        for name in ("prototypes", "log_weight", "bandwidth"):
            setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _nearest(values: Tensor, contamination: float) -> Tensor:
    """Return whether each row is kept, `bool[rows]`: the farthest are not, twice the share that may be anomalies.

    Anomalies have each other as neighbours, so the distance is that to a neighbour beyond as many as there may be of them.
    """
    left_out = min(int(2 * contamination * len(values)), len(values) - MIN_KEPT)
    if left_out < 1:
        return torch.ones(len(values), dtype=torch.bool, device=values.device)
    neighbour = min(max(NEIGHBOUR, math.ceil(1.2 * contamination * len(values))), MAX_NEIGHBOUR, len(values) - 1)
    distances, _ = NearestNeighbors(n_neighbors=neighbour).fit(values.cpu().numpy()).kneighbors()
    rank = np.argsort(np.argsort(distances[:, -1]))
    return torch.from_numpy(rank < len(values) - left_out).to(values.device)


def _cluster(inputs: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the centroids of k-means (Lloyd 1982), and how many rows each stands for."""
    if len(inputs) <= size:
        return inputs, torch.ones(len(inputs))
    found = KMeans(size, n_init=1, max_iter=PASSES, init="random", random_state=seed % 2**32).fit(inputs.cpu().numpy())
    rows = np.bincount(found.labels_, minlength=size)
    centroids = torch.from_numpy(found.cluster_centers_[rows > 0]).to(inputs.device)
    return centroids, torch.from_numpy(rows[rows > 0])


def _bandwidths(prototypes: Tensor) -> Tensor:
    """Return squared bandwidths before scaling, `float64[prototypes]`: the geometric mean of the distances and one's own."""
    neighbours = min(NEIGHBOUR, len(prototypes) - 1)
    if not neighbours:
        return torch.ones(len(prototypes), dtype=torch.float64, device=prototypes.device)
    points = prototypes.cpu().numpy()
    distances, _ = NearestNeighbors(n_neighbors=neighbours).fit(points).kneighbors()
    squared = distances[:, -1] ** 2 / max(1, points.shape[1])
    middle = float(np.median(squared))
    # An outlier among the prototypes has far neighbours; its bandwidth must not cover every row between.
    squared = np.clip(squared, max(MIN_DISTANCE * middle, MIN_SPREAD**2), max(MAX_DISTANCE * middle, MIN_SPREAD**2))
    usual = float(np.exp(np.log(squared).mean()))
    return torch.from_numpy(usual * (squared / usual) ** ADAPTIVE).to(prototypes.device)


def quantiles(scores: Tensor) -> Tensor:
    """Return what scores of normal rows are compared by: their median and their 90th percentile, `float64[2]`."""
    return torch.quantile(scores.flatten(), torch.tensor(QUANTILES, dtype=torch.float64, device=scores.device))
