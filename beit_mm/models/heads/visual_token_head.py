import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from beit_mm.models.layers.init import init_linear_and_norm
from beit_mm.registry import MODELS


@MODELS.register_module()
class VisualTokenHead(BaseModule):
    """A softmax over the vocabulary for each masked patch (BEiT section 2.3).

    Args:
        vocab_size: Of the tokenizer whose ids are predicted.
        dims: Channels of the features.
        init_std: See BEiTEncoder.
    """

    def __init__(
        self, vocab_size: int, dims: int, init_std: float = 0.02, init_cfg: dict | None = None
    ):
        super().__init__(init_cfg)
        self.vocab_size = vocab_size
        self.dims = dims
        self.proj = nn.Linear(dims, vocab_size)
        init_linear_and_norm(self.proj, init_std)

    def loss(self, feats: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Features (M, C), ids (M,) -> mean cross-entropy ``loss`` in nats, ``acc`` in percent.

        The mean is over the patches of this process. Distributed training averages the processes,
        which is the mean over all patches where each process has as many, as with a fixed number
        of masked patches in each image.
        """
        logits = self.predict(feats)
        if len(targets) == 0:  # nothing is masked: zero, but connected to the graph
            return dict(loss=logits.sum(), acc=logits.new_zeros(()))
        acc = (logits.argmax(-1) == targets).float().mean() * 100
        return dict(loss=F.cross_entropy(logits, targets), acc=acc)

    def predict(self, feats: Tensor) -> Tensor:
        """Features (M, C) -> logits (M, V), float32."""
        return self.proj(feats).float()
