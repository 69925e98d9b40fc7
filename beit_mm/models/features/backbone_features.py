from torch import Tensor

from beit_mm.contracts import Backbone, UserError
from beit_mm.contracts.starting_weights import draw_weights, pretrained_steps
from beit_mm.models.features.frozen_features import FrozenFeatures
from beit_mm.registry import MODELS


@MODELS.register_module()
class BackboneFeatures(FrozenFeatures):
    """Features of any registered backbone: this package's own, or ``mmpretrain.X``.

    ``backbone=dict(type='beit_mm.BEiTEncoder', out_type='featmap', init_cfg=dict(type='Pretrained',
    ...))`` takes what an earlier training learned, without any download.

    Args:
        backbone: Its ``forward`` gives feature maps (B, dims, h, w), a tuple of them or one. The
            weights are those of its ``init_cfg``.
        output: Index into the tuple.
        kwargs: See :class:`FrozenFeatures`.
    """

    def __init__(self, backbone: dict, dims: int, output: int = -1, **kwargs):
        super().__init__(dims, **kwargs)
        self.output = output
        self.backbone = MODELS.build(backbone)
        draw_weights(self.backbone)
        self.is_trained = bool(pretrained_steps(backbone.get('init_cfg')))
        if isinstance(self.backbone, Backbone):
            self.in_channels = self.backbone.in_channels
        self.freeze()

    def featmap(self, images: Tensor) -> Tensor:
        outputs = self.backbone(images)
        features = outputs[self.output] if isinstance(outputs, (tuple, list)) else outputs
        if features.ndim != 4:
            raise UserError(
                f'{self.name}: the backbone gives {tuple(features.shape)}, expected a feature map '
                "(B, dims, h, w); most Transformers do with backbone.out_type='featmap'"
            )
        return features

    @property
    def name(self) -> str:
        return type(self.backbone).__name__
