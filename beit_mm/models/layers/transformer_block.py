from collections.abc import Callable, Collection
from functools import cache

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from beit_mm.contracts.errors import UserError
from beit_mm.contracts.positions import Grid
from beit_mm.models.layers.half_precision import FAST_HALVES
from beit_mm.models.layers.rel_pos_bias import RelativePositions


class DropPath(nn.Module):
    """Stochastic depth: drops the residual branch of whole samples, scaling the rest by 1/keep."""

    def __init__(self, rate: float = 0.0):
        super().__init__()
        if not 0 <= rate < 1:
            raise UserError(f'drop_path={rate}: expected a rate in [0, 1)')
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return scaled(x, self.draw(x))

    def draw(self, x: Tensor) -> Tensor | None:
        """Return a factor of each sample, (B, 1, ..., 1) in float32; None if none is dropped."""
        if not self.training or self.rate == 0:
            return None
        keep = 1 - self.rate
        kept = torch.empty(len(x), *[1] * (x.ndim - 1), device=x.device).bernoulli_(keep)
        return kept / keep

    def extra_repr(self) -> str:
        return f'rate={self.rate:.3g}'


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, drop: float = 0.0) -> Tensor:
    """Attend by PyTorch's kernel, or by its steps where gradients are recorded in half precision.

    On a CPU the kernel then computes in float32, which takes three times as long where the CPU has
    units for half precision. The steps round logits and weights to the precision of ``q``.

    Args:
        q, k, v: (B, heads, N, C)
        bias: Added to the logits, (1, heads, N, N).
        drop: Dropout of the weights.

    Returns:
        (B, heads, N, C)
    """
    learns = torch.is_grad_enabled() and q.requires_grad
    if q.dtype not in FAST_HALVES or q.device.type != 'cpu' or not learns:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=drop)
    shape, scale = q.shape, q.shape[-1] ** -0.5
    q, k, v = (part.flatten(0, 1) for part in (q, k, v))
    if bias is None:
        logits = torch.bmm(q * scale, k.transpose(1, 2))
    else:
        bias = bias.expand(shape[0], -1, -1, -1).flatten(0, 1)
        logits = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale)  # rounded once
    weights = F.dropout(logits.softmax(-1), drop)
    return torch.bmm(weights, v).view(shape)


class Attention(nn.Module):
    """Multi-head self-attention; q and v have a bias, k has none (a constant in the softmax).

    Args:
        attn_drop: Dropout of the attention weights.
        proj_drop: Dropout after the output projection.
        positions: Gives this layer a table of relative positions of its own, and reads it.
    """

    def __init__(
        self,
        dims: int,
        num_heads: int,
        qkv_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        positions: RelativePositions | None = None,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.qkv = nn.Linear(dims, 3 * dims, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dims)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dims)) if qkv_bias else None
        self.positions = positions
        self.relative_position_bias_table = (
            None if positions is None else positions.new_table(num_heads)
        )
        self.proj = nn.Linear(dims, dims)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor, bias: Tensor | None = None, grid: Grid | None = None) -> Tensor:
        """Attend to all tokens.

        Args:
            x: (B, N, C)
            bias: Added to the attention logits, (1, heads, N, N).
            grid: Patches (h, w), for a layer that has a table of its own.

        Returns:
            (B, N, C)
        """
        q, k, v, bias = self._project(x, bias, grid)
        x = attend(q, k, v, bias, self.attn_drop if self.training else 0.0)
        x = x.transpose(1, 2)  # (B, N, heads, C/heads)
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            # What replaces the attention later may lay its output out otherwise.
            x = x.clone(memory_format=torch.contiguous_format)
        return self.proj_drop(self.proj(x.flatten(2)))

    def weights(self, x: Tensor, bias: Tensor | None = None, grid: Grid | None = None) -> Tensor:
        """Return what each token attends to, (B, heads, N, N) in float32; rows sum to 1."""
        q, k, _, bias = self._project(x, bias, grid)
        logits = q.float() @ k.float().transpose(-2, -1) * q.shape[-1] ** -0.5
        return (logits if bias is None else logits + bias.float()).softmax(-1)

    def _project(
        self, x: Tensor, bias: Tensor | None, grid: Grid | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return q, k and v, each (B, heads, N, C/heads), and the bias of this layer."""
        if self.positions is not None:
            bias = self.positions.bias_of(self, grid)
        qkv_bias = None
        if self.q_bias is not None:
            qkv_bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, qkv_bias).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return q, k, v, None if bias is None else bias.to(q.dtype)


class MLP(nn.Module):
    """Linear, GELU, Linear; dropout after the last one only, as in BEiT."""

    def __init__(self, dims: int, hidden_dims: int, drop: float = 0.0):
        super().__init__()
        self.fc1 = nn.Linear(dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, dims)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(F.gelu(self.fc1(x))))


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP, each scaled by LayerScale and dropped as one branch.

    Args:
        layer_scale_init: Start of gamma_1 and gamma_2; None or 0 has no LayerScale.
        norm_eps: Of both LayerNorms.
        positions: See :class:`Attention`.

    Attributes:
        is_compiled: Run what ``torch.compile`` makes of the block.
    """

    is_compiled = False

    def __init__(
        self,
        dims: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        layer_scale_init: float | None = 0.1,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        mlp_drop: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
        positions: RelativePositions | None = None,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dims, eps=norm_eps)
        self.attn = Attention(dims, num_heads, qkv_bias, attn_drop, proj_drop, positions)
        self.norm2 = nn.LayerNorm(dims, eps=norm_eps)
        self.mlp = MLP(dims, int(dims * mlp_ratio), mlp_drop)
        self.drop_path = DropPath(drop_path)
        self.gamma_1 = self.gamma_2 = None
        if layer_scale_init:
            self.gamma_1 = nn.Parameter(torch.full((dims,), float(layer_scale_init)))
            self.gamma_2 = nn.Parameter(torch.full((dims,), float(layer_scale_init)))

    def forward(self, x: Tensor, bias: Tensor | None = None, grid: Grid | None = None) -> Tensor:
        """Return (B, N, C) of (B, N, C); the other arguments are those of :class:`Attention`."""
        add_branches = compiled_branches() if self.is_compiled else TransformerBlock.add_branches
        # Rates of blocks differ: drawn here, they leave one graph for all.
        return add_branches(self, x, bias, grid, self.drop_path.draw(x), self.drop_path.draw(x))

    def add_branches(
        self,
        x: Tensor,
        bias: Tensor | None,
        grid: Grid | None,
        drop_1: Tensor | None,
        drop_2: Tensor | None,
    ) -> Tensor:
        branch = scaled(self.attn(self.norm1(x), bias, grid), self.gamma_1)
        x = x + scaled(branch, drop_1)
        return x + scaled(scaled(self.mlp(self.norm2(x)), self.gamma_2), drop_2)


class TransformerBlocks(nn.ModuleList):
    """Blocks that follow each other; the state dict is that of a list."""

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None,
        grid: Grid | None,
        layers: Collection[int],
        recompute: bool = False,
    ) -> list[Tensor]:
        """Return the tokens (B, N, C) after each of ``layers``, in the order of the blocks.

        Args:
            x, bias, grid: As of :class:`TransformerBlock`.
            layers: Numbers of blocks, from 0.
            recompute: Compute the blocks once more in the backward pass, to save memory.
        """
        outputs = []
        for layer, block in enumerate(self):
            if recompute:
                x = checkpoint(block, x, bias, grid, use_reentrant=False)
            else:
                x = block(x, bias, grid)
            if layer in layers:
                outputs.append(x)
        return outputs


def scaled(x: Tensor, factor: Tensor | None) -> Tensor:
    return x if factor is None else factor * x


@cache
def compiled_branches() -> Callable[..., Tensor]:
    return torch.compile(TransformerBlock.add_branches, fullgraph=True)
