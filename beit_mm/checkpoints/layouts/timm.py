"""timm's ``beit_*`` and ``beitv2_*``: fine-tuned models under the original's names.

They are read like the original's. timm keeps no index of the tables in its files and masks no
patches.
"""

from collections.abc import Collection, Mapping

from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts import unilm
from beit_mm.contracts.positions import INDEX, Grid

NAME = 'timm'


def matches(names: Collection[str]) -> bool:
    apart = any(n.endswith(INDEX) or n.startswith(('lm_head.', 'mask_token')) for n in names)
    return not apart and unilm.matches(names)


to_ours = unilm.to_ours


def from_ours(state: Mapping[str, Tensor], task: str, grid: Grid | None = None) -> Conversion:
    """Convert to a model for classification, with a table in each block, whatever the task."""
    return unilm.names_from_ours(state, 'backbone' if task == 'pretrain' else task).finish()
