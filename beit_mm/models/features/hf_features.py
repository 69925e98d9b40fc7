from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.contracts.packages import need
from beit_mm.models.features.frozen_features import FrozenFeatures, as_size
from beit_mm.registry import MODELS


@MODELS.register_module()
class HFFeatures(FrozenFeatures):
    """Features of a vision Transformer of Hugging Face's transformers, which must be installed.

    They are the ``last_hidden_state`` of the patches: for ViT, DINO and DINOv2 models that is
    after the last norm.

    Args:
        model: Name on the hub or a local folder, as ``from_pretrained`` takes it.
        config: A dict with ``model_type`` and more, or a configuration, for random weights instead
            of ``model``.
        input_size: By default the model's own ``image_size``.
        kwargs: See :class:`FrozenFeatures`.
    """

    model_class = 'AutoModel'

    def __init__(self, model: str | None = None, config=None, **kwargs):
        transformers = need('transformers', type(self).__name__)
        if (model is None) == (config is None):
            raise UserError(
                f'{type(self).__name__} takes either model, the weights to load, or '
                'config, for random ones'
            )
        model_class = getattr(transformers, self.model_class)
        if model is not None:
            vit = model_class.from_pretrained(model)
        else:
            if isinstance(config, dict):
                config = transformers.AutoConfig.for_model(**config)
            from_config = getattr(model_class, 'from_config', model_class)
            vit = from_config(config)
        settings = dict(input_size=vit.config.image_size)
        super().__init__(self.dims_of(vit), **(settings | kwargs))
        self.vit = vit
        self.is_trained = model is not None
        self.freeze()

    @staticmethod
    def dims_of(vit) -> int:
        return vit.config.hidden_size

    def featmap(self, images: Tensor) -> Tensor:
        return self.patches(self.tokens(images), images)

    def tokens(self, images: Tensor) -> Tensor:
        """Return the last hidden state of normalized images of any size."""
        other_size = tuple(images.shape[-2:]) != as_size(self.vit.config.image_size)
        options = dict(interpolate_pos_encoding=True) if other_size else {}
        return self.vit(pixel_values=images, **options).last_hidden_state

    def patches(self, tokens: Tensor, images: Tensor) -> Tensor:
        """Return the last N of tokens (B, ... + N, C) as (B, C, h, w)."""
        patch_size = self.vit.config.patch_size
        grid = images.shape[-2] // patch_size, images.shape[-1] // patch_size
        patches = tokens[:, -grid[0] * grid[1] :]
        return patches.transpose(1, 2).unflatten(2, grid)

    @property
    def name(self) -> str:
        return self.vit.config.name_or_path or type(self.vit).__name__
