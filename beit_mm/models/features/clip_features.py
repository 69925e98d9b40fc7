from torch import Tensor

from beit_mm.models.features.hf_features import HFFeatures
from beit_mm.registry import MODELS

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@MODELS.register_module()
class CLIPFeatures(HFFeatures):
    """The vision tower of a CLIP model of transformers, the teacher of BEiT v2.

    CLIP normalizes and projects its class token only; here every patch token goes through the last
    norm and the projection into the space that images share with texts.

    Args:
        model: ``openai/clip-vit-base-patch16`` in the paper.
        kwargs: See :class:`HFFeatures`.
    """

    model_class = 'CLIPVisionModelWithProjection'

    def __init__(self, model: str | None = None, config=None, **kwargs):
        super().__init__(model, config, **(dict(mean=CLIP_MEAN, std=CLIP_STD) | kwargs))

    @staticmethod
    def dims_of(vit) -> int:
        return vit.config.projection_dim

    def featmap(self, images: Tensor) -> Tensor:
        tokens = self.vit.vision_model.post_layernorm(self.tokens(images))
        return self.patches(self.vit.visual_projection(tokens), images)
