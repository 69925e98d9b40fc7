import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, all_reduce, broadcast, get_world_size
from torch import Tensor

from beit_mm.contracts import Quantizer
from beit_mm.contracts.recorded import is_exported
from beit_mm.models.quantizers.dead_code_reset import DeadCodeReset
from beit_mm.registry import MODELS

# Similarities are computed for so many rows at a time that they have about this many elements:
# B * N rows of V values would be gigabytes where V is 8192.
CHUNK_ELEMENTS = 2**24


@MODELS.register_module()
class EMAVectorQuantizer(Quantizer):
    """VQ-VAE (arXiv 1711.00937, appendix A.1) with unit vectors (BEiT v2, arXiv 2208.06366).

    A token is the code with the largest cosine. In a training step each code that was chosen moves
    to ``decay * code + (1 - decay) * mean of those that chose it`` and is normalized again; the
    others stay as they are. The codes are buffers, so no optimizer and no weight decay reaches
    them, and in eval mode they don't change. The loss is

        loss_commit = commitment_weight * mean((z - sg(code))^2)

    with unit vectors z; the gradient of the codes reaches z as it is (straight-through).

    With ``torch.distributed`` the counts and sums of all processes are added in training steps,
    and the k-means start is one for all, so that every process has the same codes. In eval mode
    there is no communication.

    Args:
        commitment_weight: See above.
        decay: Of the moving average.
        kmeans_iters: Iterations of the k-means with which the first training step starts; 0 keeps
            the random codes.
        reset_dead_codes: Arguments of :class:`DeadCodeReset`. A dead code is put on a vector of the
            batch. None keeps dead codes.
    """

    has_posterior = True

    def __init__(
        self,
        vocab_size: int = 8192,
        code_dim: int = 16,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        kmeans_iters: int = 10,
        reset_dead_codes: dict | None = None,
    ):
        super().__init__()
        self.vocab_size = vocab_size
        self.in_dims = self.code_dim = code_dim
        self.commitment_weight = commitment_weight
        self.decay = decay
        self.kmeans_iters = kmeans_iters
        self.dead_code_reset = DeadCodeReset.build(reset_dead_codes, vocab_size)
        codes = F.normalize(torch.randn(vocab_size, code_dim), dim=-1)
        self.register_buffer('weight', codes)
        self.register_buffer('initialized', torch.tensor([kmeans_iters == 0]))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        with torch.autocast(z.device.type, enabled=False):
            z = F.normalize(z.float(), dim=-1)
            flat = z.detach().flatten(0, -2)  # (B * h * w, D)
            if self.training:
                self._replace_dead(flat)
            if self.training and not self.initialized:
                self.start(flat)
            ids = nearest(flat, self.weight)
            chosen = self.weight[ids].view_as(z)  # before the step that they cause
            if self.training:
                self._follow(flat, ids)
            commitment = F.mse_loss(z, chosen)
            codes = z + (chosen - z).detach()
        losses = dict(loss_commit=self.commitment_weight * commitment)
        return codes, ids.view(z.shape[:-1]), losses

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """Return ids (...) of vectors (..., D); changes nothing, not even in training mode."""
        with torch.autocast(z.device.type, enabled=False):
            flat = F.normalize(z.float(), dim=-1).flatten(0, -2)
            return nearest(flat, self.weight).view(z.shape[:-1])

    def lookup(self, ids: Tensor) -> Tensor:
        return self.weight[ids]

    def posterior(self, z: Tensor, temperature: float = 0.1) -> Tensor:
        """Return the softmax (..., V) of the cosines of vectors (..., D) over ``temperature``."""
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
        broadcast(codes)
        self.weight.copy_(codes)
        self.initialized.fill_(True)

    @torch.no_grad()
    def _replace_dead(self, z: Tensor) -> None:
        """Put dead codes on unit vectors (M, D), as many of each process."""
        found = None if self.dead_code_reset is None else self.dead_code_reset.dead()
        if found is not None:
            self.weight[found[0]] = random_rows(z, len(found[0]))

    @torch.no_grad()
    def _follow(self, z: Tensor, ids: Tensor) -> None:
        sums, counts = _sums(z, ids, len(self.weight))
        means = F.normalize(sums, dim=-1)
        moved = F.normalize(self.decay * self.weight + (1 - self.decay) * means, dim=-1)
        self.weight.copy_(torch.where(counts[:, None] > 0, moved, self.weight))
        if self.dead_code_reset is not None:
            self.dead_code_reset.count(ids)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        if f'{prefix}weight' in state_dict:  # codes that were stored are not started again
            state_dict.setdefault(f'{prefix}initialized', torch.tensor([True]))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def nearest(z: Tensor, codes: Tensor) -> Tensor:
    """Return the index (M,) of the code with the largest cosine, of unit vectors (M, D)."""
    codes = codes.to(z.dtype)  # those of a model in half precision
    rows = max(CHUNK_ELEMENTS // len(codes), 1)
    parts = [z] if is_exported() else z.split(rows)  # the number of parts would be fixed
    return torch.cat([(part @ codes.T).argmax(1) for part in parts])


def _sums(z: Tensor, ids: Tensor, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Return sum (V, D) and number (V,) of the vectors of each code, over all processes."""
    sums = z.new_zeros(vocab_size, z.shape[1]).index_add_(0, ids, z)
    counts = torch.bincount(ids, minlength=vocab_size).to(z.dtype)
    all_reduce(sums)
    all_reduce(counts)
    return sums, counts


def random_rows(z: Tensor, number: int) -> Tensor:
    """Return ``number`` vectors, the same ones in all processes and as many of each."""
    share = -(-number // get_world_size())
    if len(z) >= share:
        index = torch.randperm(len(z), device=z.device)[:share]
    else:
        index = torch.randint(len(z), (share,), device=z.device)
    return torch.cat(all_gather(z[index].contiguous()))[:number]
