"""Classification by the class token, to compare with the mean of the patch tokens."""

from torch import Tensor

from beit_mm.models.necks import PatchMeanNeck
from beit_mm.registry import MODELS


@MODELS.register_module()
class ClassTokenNeck(PatchMeanNeck):
    """The class token, then LayerNorm (BEiT, section 2.6, has the mean of the patch tokens)."""

    def forward(self, tokens: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Return ((B, C),), of outputs (B, 1+N, C)."""
        return (self.norm(tokens[-1][:, 0]),)
