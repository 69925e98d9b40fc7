import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts.errors import UserError
from beit_mm.contracts.positions import Grid
from beit_mm.models.layers.rel_pos_bias import RelativePositions


class DropPath(nn.Module):
    """Stochastic depth: drops the residual branch of whole samples, scaling the rest by 1/keep."""

    def __init__(self, rate: float = 0.0):
        super().__init__()
        if not 0 <= rate < 1:
            raise UserError(f'drop_path={rate}: expected a rate in [0, 1)')
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        kept = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * (kept / keep)

    def extra_repr(self) -> str:
        return f'rate={self.rate:.3g}'


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
        if self.positions is not None:
            bias = self.positions.bias_of(self, grid)
        qkv_bias = None
        if self.q_bias is not None:
            qkv_bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, qkv_bias).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, C/heads)
        x = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if bias is None else bias.to(q.dtype),
            dropout_p=self.attn_drop if self.training else 0.0,
        )
        return self.proj_drop(self.proj(x.transpose(1, 2).flatten(2)))


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
    """

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
        x = x + self.drop_path(self._scale(self.attn(self.norm1(x), bias, grid), self.gamma_1))
        return x + self.drop_path(self._scale(self.mlp(self.norm2(x)), self.gamma_2))

    @staticmethod
    def _scale(x: Tensor, gamma: Tensor | None) -> Tensor:
        return x if gamma is None else gamma * x
