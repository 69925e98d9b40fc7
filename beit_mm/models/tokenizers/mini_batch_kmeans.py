import torch
import torch.nn as nn
from mmengine.dist import all_reduce, broadcast
from torch import Tensor

from beit_mm.contracts import TrainingState
from beit_mm.contracts.recorded import is_exported

CHUNK_ELEMENTS = 2**24  # distances that are computed at a time


class MiniBatchKMeans(nn.Module, TrainingState):
    """k-means in one pass over a stream of batches (Sculley 2010), from a k-means++ start.

    The first ``start_vectors`` vectors are collected and the centers drawn from them. From then on
    each batch moves the centers to the running mean of all vectors that ever chose them. Draws
    come from ``seed`` alone: the same stream gives the same centers. With several processes each
    waits until all of them have ``start_vectors``, the start is drawn from the first one's, and the
    sums are those of all.

    A state dict of a module that still collects holds the centers that its first process would
    start with, since the data may end there. A resumed run goes on collecting.

    Args:
        start_vectors: None takes 20 for each center.
    """

    def __init__(self, vocab_size: int, dims: int, start_vectors: int | None = None, seed: int = 0):
        super().__init__()
        self.start_vectors = max(start_vectors or 20 * vocab_size, vocab_size)
        self.seed = seed
        # A parameter that no gradient moves: it is saved, counted and checked as weights are.
        self.centers = nn.Parameter(torch.zeros(vocab_size, dims))
        self.register_buffer('counts', torch.zeros(vocab_size, dtype=torch.float64))
        self.waiting: list[Tensor] = []

    @property
    def fitted(self) -> bool:
        return bool(self.counts.any()) and not self.waiting

    @torch.no_grad()
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return ids (...) and squared distances (...) of vectors (..., D); changes nothing."""
        flat = z.float().flatten(0, -2)
        centers = self.centers.float()  # those of a model in half precision
        rows = max(CHUNK_ELEMENTS // len(centers), 1)
        parts = [flat] if is_exported() else flat.split(rows)  # the number would be fixed
        found = [_squared_distances(part, centers).min(1) for part in parts]
        distances, ids = (torch.cat(parts) for parts in zip(*found, strict=True))
        return ids.view(z.shape[:-1]), distances.view(z.shape[:-1])

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        """Add a batch of vectors (..., D)."""
        flat = z.detach().float().flatten(0, -2)
        if not self.fitted:
            self.waiting.append(flat)
            if self._enough():
                self.start()
            return
        self._move(flat)

    @torch.no_grad()
    def start(self) -> None:
        """Draw the centers from the vectors collected so far, if there are none yet."""
        if not self.waiting:
            return
        flat, self.waiting = torch.cat(self.waiting), []
        self.centers.copy_(self._drawn(flat))
        self.counts.zero_()  # those of a checkpoint that was made while it waited
        broadcast(self.centers.data)
        self._move(flat)

    def training_state(self) -> dict[str, list[Tensor]]:
        return dict(waiting=[vectors.cpu() for vectors in self.waiting])

    def load_training_state(self, state: dict[str, list[Tensor]]) -> None:
        self.waiting = [vectors.to(self.centers.device) for vectors in state['waiting']]

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.waiting:
            centers = self._drawn(torch.cat(self.waiting)).to(self.centers.device)
            destination[f'{prefix}centers'] = centers
            destination[f'{prefix}counts'] = torch.ones_like(self.counts)

    def _drawn(self, z: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return kmeans_plus_plus(z, len(self.centers), generator)

    def _enough(self) -> bool:
        """Return whether all processes have enough; they have to start in the same step."""
        enough = torch.tensor(int(sum(map(len, self.waiting)) >= self.start_vectors))
        all_reduce(enough, 'min')
        return bool(enough)

    def _move(self, flat: Tensor) -> None:
        ids, _ = self(flat)
        sums = torch.zeros_like(self.centers, dtype=torch.float64).index_add_(0, ids, flat.double())
        counts = torch.bincount(ids, minlength=len(self.centers)).double()
        all_reduce(sums)
        all_reduce(counts)
        self.counts += counts
        step = (sums - counts[:, None] * self.centers) / self.counts.clamp(min=1)[:, None]
        self.centers += step.to(self.centers.dtype)


def kmeans_plus_plus(z: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Return ``number`` of vectors (M, D), each drawn by its squared distance to those before."""
    first = torch.randint(len(z), (1,), generator=generator).item()
    chosen = [first]
    nearest = _squared_distances(z, z[first : first + 1])[:, 0]
    for _ in range(number - 1):
        weights = nearest.double().cpu()
        if not weights.sum() > 0:  # fewer different vectors than centers
            weights = torch.ones_like(weights)
        index = torch.multinomial(weights, 1, generator=generator).item()
        chosen.append(index)
        nearest = torch.minimum(nearest, _squared_distances(z, z[index : index + 1])[:, 0])
    return z[chosen]


def _squared_distances(z: Tensor, centers: Tensor) -> Tensor:
    with torch.autocast(z.device.type, enabled=False):  # differences of large numbers
        products = z @ centers.T
    squares = z.square().sum(1, keepdim=True) + centers.square().sum(1)
    return (squares - 2 * products).clamp(min=0)
