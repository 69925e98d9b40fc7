import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.models.layers.joint_sum import num_processes

# Similarities are computed for so many rows at a time that they have about this many elements:
# B * N rows of V values would be gigabytes where V is 8192.
CHUNK_ELEMENTS = 2**24


class EMACodebook(nn.Module):
    """Unit vectors that follow the vectors nearest to them (BEiT v2, arXiv 2208.06366).

    Vectors and codes are compared by their cosine. In a training step each code that was chosen
    moves to ``decay * code + (1 - decay) * mean of those that chose it`` and is normalized again;
    the others stay as they are. The codes are buffers, so no optimizer and no weight decay reaches
    them, and in eval mode they don't change.

    With ``torch.distributed`` the counts and sums of all processes are added in training steps,
    and the k-means start is one for all, so that every process has the same codes. In eval mode
    there is no communication.

    Args:
        decay: Of the exponential moving average.
        kmeans_iters: Iterations of the k-means with which the first training step starts; 0 keeps
            the random codes.
    """

    def __init__(self, vocab_size: int, dims: int, decay: float = 0.99, kmeans_iters: int = 10):
        super().__init__()
        self.decay = decay
        self.kmeans_iters = kmeans_iters
        codes = F.normalize(torch.randn(vocab_size, dims), dim=-1)
        self.register_buffer('weight', codes)
        self.register_buffer('initialized', torch.tensor([kmeans_iters == 0]))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors (..., D) -> codes (..., D), ids (...), commitment loss.

        The gradient of the codes reaches the normalized vectors as it is (straight-through), and
        the loss is the mean squared distance of the normalized vectors to their codes.
        """
        with torch.autocast(z.device.type, enabled=False):
            z = F.normalize(z.float(), dim=-1)
            flat = z.detach().flatten(0, -2)  # (B * N, D)
            if self.training and not self.initialized:
                self.start(flat)
            ids = nearest(flat, self.weight)
            chosen = self.weight[ids].view_as(z)  # before the step that they cause
            if self.training:
                self._follow(flat, ids)
            commitment = F.mse_loss(z, chosen)
            codes = z + (chosen - z).detach()
        return codes, ids.view(z.shape[:-1]), commitment

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """Vectors (..., D) -> ids (...). Changes nothing, not even in training mode."""
        with torch.autocast(z.device.type, enabled=False):
            flat = F.normalize(z.float(), dim=-1).flatten(0, -2)
            return nearest(flat, self.weight).view(z.shape[:-1])

    def posterior(self, z: Tensor, temperature: float = 0.1) -> Tensor:
        """Vectors (..., D) -> (..., V): softmax of the cosines over ``temperature``."""
        with torch.autocast(z.device.type, enabled=False):
            cosines = F.normalize(z.float(), dim=-1) @ self.weight.float().T
            return (cosines / temperature).softmax(-1)

    @torch.no_grad()
    def start(self, z: Tensor) -> None:
        """Place the codes by k-means with cosines on the vectors (..., D) of all processes."""
        z = F.normalize(z.float(), dim=-1).flatten(0, -2)
        codes = random_rows(z, len(self.weight))
        for _ in range(self.kmeans_iters):
            sums, counts = _sums(z, nearest(z, codes), len(codes))
            codes = torch.where(counts[:, None] > 0, F.normalize(sums, dim=-1), codes)
        if num_processes() > 1:
            dist.broadcast(codes, src=0)
        self.weight.copy_(codes)
        self.initialized.fill_(True)

    @torch.no_grad()
    def replace(self, codes: Tensor, z: Tensor) -> None:
        """Put the codes of these ids (K,) on vectors (..., D), of each process as many."""
        z = F.normalize(z.float(), dim=-1).flatten(0, -2)
        self.weight[codes] = random_rows(z, len(codes))

    @torch.no_grad()
    def _follow(self, z: Tensor, ids: Tensor) -> None:
        sums, counts = _sums(z, ids, len(self.weight))
        means = F.normalize(sums, dim=-1)
        moved = F.normalize(self.decay * self.weight + (1 - self.decay) * means, dim=-1)
        self.weight.copy_(torch.where(counts[:, None] > 0, moved, self.weight))

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        if f'{prefix}weight' in state_dict:  # codes that were stored are not started again
            state_dict.setdefault(f'{prefix}initialized', torch.tensor([True]))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        vocab_size, dims = self.weight.shape
        return f'vocab_size={vocab_size}, dims={dims}, decay={self.decay}'


def nearest(z: Tensor, codes: Tensor) -> Tensor:
    """Unit vectors (M, D) and unit codes (V, D) -> index of the code with the largest cosine."""
    codes = codes.to(z.dtype)  # those of a model in half precision
    rows = max(CHUNK_ELEMENTS // len(codes), 1)
    return torch.cat([(part @ codes.T).argmax(1) for part in z.split(rows)])


def _sums(z: Tensor, ids: Tensor, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Sum (V, D) and number (V,) of the vectors of each code, over all processes."""
    sums = z.new_zeros(vocab_size, z.shape[1]).index_add_(0, ids, z)
    counts = torch.bincount(ids, minlength=vocab_size).to(z.dtype)
    if num_processes() > 1:
        dist.all_reduce(sums)
        dist.all_reduce(counts)
    return sums, counts


def random_rows(z: Tensor, number: int) -> Tensor:
    """``number`` vectors, the same ones in all processes and as many of each of them."""
    world_size = num_processes()
    share = -(-number // world_size)
    if len(z) >= share:
        index = torch.randperm(len(z), device=z.device)[:share]
    else:
        index = torch.randint(len(z), (share,), device=z.device)
    rows = z[index].contiguous()
    if world_size > 1:
        parts = [torch.empty_like(rows) for _ in range(world_size)]
        dist.all_gather(parts, rows)
        rows = torch.cat(parts)
    return rows[:number]
