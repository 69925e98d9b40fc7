import math
import random
from collections.abc import Sequence
from numbers import Integral

import numpy as np

from beit_mm.contracts import UserError, check_choice
from beit_mm.datasets.transforms.arguments import check_range
from beit_mm.datasets.transforms.base_patch_mask import BasePatchMask
from beit_mm.registry import TRANSFORMS

TRIES_PER_BLOCK = 10


@TRANSFORMS.register_module()
class BlockwiseMask(BasePatchMask):
    """Mask rectangular blocks until ``num_masked`` patches are hidden (BEiT paper, Section 2.3).

    Writes mask (h, w) bool, True = masked. The area of a block is uniform in [min_block, what is
    still missing], its aspect ratio log-uniform in ``ratio``. It can have any position inside the
    grid, last row and column included. Where it overlaps earlier blocks, only the new patches
    count. A block with too many of them is drawn again; after ten draws without success no more
    blocks are placed. On a 14 x 14 grid with 75 patches, that leaves 74.5 masked on average and
    exactly 75 in two masks of three.

    Args:
        grid, num_masked, mask_ratio: As in :class:`BasePatchMask`.
        mode: 'at_most' stops there, as the first version of BEiT does, with at least one masked
            patch. 'exactly' then masks single random patches until ``num_masked`` are masked, as
            BEiT v2 does.
        min_block: Patches in the smallest block. The last blocks may be smaller.
        max_block: Patches in the largest block; None is ``num_masked``.
        ratio: Range of block height / block width.
    """

    def __init__(
        self,
        grid: int | Sequence[int],
        num_masked: int | None = None,
        mask_ratio: float | None = None,
        mode: str = 'at_most',
        min_block: int = 16,
        max_block: int | None = None,
        ratio: Sequence[float] = (0.3, 1 / 0.3),
    ):
        super().__init__(grid, num_masked, mask_ratio)
        check_choice(self.name, ('at_most', 'exactly'), mode=mode)
        h, w = self.grid
        # A block spans neither all rows nor all columns, unless there is just one.
        self.limits = max(h - 1, 1), max(w - 1, 1)
        largest = self.limits[0] * self.limits[1]
        if not isinstance(min_block, Integral) or not 0 < min_block <= largest:
            raise UserError(
                f'{self.name}.min_block={min_block!r}: grid={self.grid} takes blocks of up to '
                f'{self.limits[0]} x {self.limits[1]} patches; set min_block to an integer in '
                f'[1, {largest}]'
            )
        if max_block is not None and (not isinstance(max_block, Integral) or max_block < min_block):
            raise UserError(
                f'{self.name}.max_block={max_block!r} is below min_block={min_block}; '
                'raise it, lower min_block, or set it to None for num_masked'
            )
        self.first_columns = [sum(1 << w * row for row in range(rows)) for rows in range(h + 1)]
        self.mode = mode
        self.min_block = min_block
        self.max_block = self.num_masked if max_block is None else max_block
        self.log_ratio = tuple(map(math.log, check_range(f'{self.name}.ratio', ratio)))

    def sample(self) -> np.ndarray:
        hidden, missing = 0, self.num_masked  # bit row * w + column of hidden is a patch
        while missing > 0 and (new := self._draw_block(hidden, min(missing, self.max_block))):
            hidden |= new
            missing -= new.bit_count()
        h, w = self.grid
        bits = np.frombuffer(hidden.to_bytes(h * w // 8 + 1, 'little'), np.uint8)
        mask = np.unpackbits(bits, count=h * w, bitorder='little').view(bool).reshape(h, w)
        # A mask of nothing would give no loss: no block had fit, of few patches for example.
        rest = missing if self.mode == 'exactly' else int(missing == self.num_masked)
        if rest > 0:
            visible = np.flatnonzero(~mask)
            mask.flat[random.sample(visible.tolist(), rest)] = True
        return mask

    def _draw_block(self, hidden: int, most: int) -> int:
        """Return the 1 to ``most`` patches that one more block hides, 0 if none fits."""
        (h, w), (low, high) = self.grid, self.log_ratio
        for _ in range(TRIES_PER_BLOCK):
            # Near the end most < min_block: areas are then between the two.
            area = self.min_block + (most - self.min_block) * random.random()
            aspect = math.exp(low + (high - low) * random.random())
            rows = round(math.sqrt(area * aspect))
            columns = round(math.sqrt(area / aspect))
            if rows > self.limits[0] or columns > self.limits[1]:
                continue
            first = random.randrange(h - rows + 1) * w + random.randrange(w - columns + 1)
            block = self.first_columns[rows] * ((1 << columns) - 1) << first
            new = block & ~hidden
            if 0 < new.bit_count() <= most:
                return new
        return 0
