from torch import Tensor

from beit_mm.models.features.frozen_features import FrozenFeatures
from beit_mm.registry import MODELS


@MODELS.register_module()
class BackboneFeatures(FrozenFeatures):
    """Any registered backbone as a teacher: this package's own, or ``mmpretrain.X``.

    ``backbone=dict(type='beit_mm.BEiTEncoder', out_type='featmap', init_cfg=dict(type='Pretrained',
    ...))`` distils what an earlier training learned, without any download.

    Args:
        backbone: Its ``forward`` gives feature maps (B, dims, h, w), a tuple of them or one. The
            weights are those of its ``init_cfg``.
        output: Which one of the tuple.
        kwargs: As :class:`FrozenFeatures`.
    """

    def __init__(self, backbone: dict, dims: int, output: int = -1, **kwargs):
        super().__init__(dims, **kwargs)
        self.output = output
        self.backbone = MODELS.build(backbone)
        if hasattr(self.backbone, 'init_weights'):
            self.backbone.init_weights()
        self.freeze()

    def featmap(self, images: Tensor) -> Tensor:
        outputs = self.backbone(images)
        features = outputs[self.output] if isinstance(outputs, (tuple, list)) else outputs
        if features.ndim != 4:
            raise ValueError(
                f'{self.name}: the backbone gives {tuple(features.shape)}, expected a feature map '
                "(B, dims, h, w); most Transformers do with teacher.backbone.out_type='featmap'"
            )
        return features

    @property
    def name(self) -> str:
        return type(self.backbone).__name__
