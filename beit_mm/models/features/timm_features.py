from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.contracts.packages import need
from beit_mm.models.features.frozen_features import FrozenFeatures
from beit_mm.registry import MODELS


@MODELS.register_module()
class TimmFeatures(FrozenFeatures):
    """Features of a model of timm, which must be installed: ``forward_features`` of each patch.

    ``model='vit_base_patch16_224.dino'`` is the DINO teacher of BEiT v2: patch tokens after the
    last norm. ``model='vit_base_patch16_clip_224.openai', project=True`` is its CLIP teacher: timm
    keeps the projection of these models as their head.

    Args:
        model: Name in timm, with the tag of its weights.
        pretrained: Load these weights (from timm's cache or the network).
        model_kwargs: More arguments of ``timm.create_model``, for example ``checkpoint_path``.
        project: Apply the model's head, a linear layer, to each patch.
        mean, std, input_size: By default the model's own.
        kwargs: See :class:`FrozenFeatures`.
    """

    def __init__(
        self,
        model: str,
        pretrained: bool = True,
        model_kwargs: dict | None = None,
        project: bool = False,
        **kwargs,
    ):
        timm = need('timm', f'TimmFeatures.model={model!r}')
        vit = timm.create_model(model, pretrained=pretrained, **(model_kwargs or {}))
        own = vit.pretrained_cfg
        settings = dict(mean=own['mean'], std=own['std'], input_size=tuple(own['input_size'][1:]))
        dims = vit.num_features
        if project:
            dims = getattr(vit.head, 'out_features', None)
            if dims is None:
                raise UserError(
                    f'TimmFeatures.project=True, but the head of {model!r} is no linear layer; '
                    'leave project out, or choose a CLIP model'
                )
        super().__init__(dims, **(settings | kwargs))
        self.model_name = model
        self.vit = vit
        self.project = project
        self.is_trained = pretrained or bool((model_kwargs or {}).get('checkpoint_path'))
        self.freeze()

    def featmap(self, images: Tensor) -> Tensor:
        features = self.vit.forward_features(images)
        if features.ndim == 4:  # convolutional and windowed models
            channels_last = getattr(self.vit, 'output_fmt', 'NCHW') == 'NHWC'
            features = features if channels_last else features.permute(0, 2, 3, 1)
        else:
            height, width = self.vit.patch_embed.patch_size
            grid = images.shape[-2] // height, images.shape[-1] // width
            features = features[:, -grid[0] * grid[1] :].unflatten(1, grid)
        if self.project:
            features = self.vit.head(features)
        return features.permute(0, 3, 1, 2)

    @property
    def name(self) -> str:
        return self.model_name
