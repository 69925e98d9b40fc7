from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn as nn

from beit_mm.apis.images.array_image import ArrayFormat
from beit_mm.apis.images.image_reader import ImageReader
from beit_mm.apis.results import (
    AttentionMaps,
    Classifications,
    Embeddings,
    Reconstructions,
    Result,
    Segmentations,
    Tokens,
)
from beit_mm.apis.run_verb import run_all, run_batches, verb_of
from beit_mm.apis.verbs import PREDICTS
from beit_mm.apis.verbs.tokenize import detokenize
from beit_mm.checkpoints.description.preprocessing import centered_crop
from beit_mm.contracts import UserError
from beit_mm.datasets.transforms import LoadMultiBandImage, TwoViewResizedCrop
from beit_mm.models import TwoViewDataPreprocessor


class Model:
    """A trained model that takes images as people have them; made by :func:`load_model`.

    Every verb takes ``images``: a file, a folder, a pattern, a PIL image, an array (H, W, C) or
    (N, H, W, C), a tensor (C, H, W) or (N, C, H, W), or a list of these. Files are read by the
    loader of the training, then resized and cropped as in its validation. Images in memory have the
    channels and the range of values of the training's; three channels of 8 bits are RGB.

    Every verb also takes

    - ``batch_size`` (32) and ``workers`` (0), processes that read files;
    - ``errors``: 'skip' leaves out images that cannot be used, names and counts them in the log,
      and keeps them in ``failed`` of the result; 'raise' stops. By default a single image stops;
    - ``progress``: a bar; by default where there is more than one batch.

    Attributes:
        task: 'tokenizer', 'pretraining', 'classification', 'segmentation' or 'backbone'.
        module: The ``nn.Module``, in eval mode.
        description: What the checkpoint says of itself, see docs/checkpoints.md.
        classes, palette: Of the training data; None where it has none.
        mean, std: Of the normalization, in pixel units; a number for each channel, or one for all.
        channel_order: What the network sees: 'RGB', 'BGR', 'as loaded' or 'reversed'.
        in_channels: Channels of an image; None takes any.
        value_range: Pixel values of black and white, before the normalization.
        size: (H, W) of the input; None takes the size of the image.
        patch_size: Pixels per patch, or per token of a tokenizer, and side.
    """

    def __init__(
        self,
        module: nn.Module,
        description: Mapping[str, Any],
        transforms: Sequence,
        device: str | torch.device = 'cpu',
        dtype: torch.dtype | None = None,
        source: str = '',
    ):
        self.module = module.to(device).eval()
        self.description = description
        self.device, self.dtype = torch.device(device), dtype
        self.source = source
        self.task: str = description['task']
        self.classes: list[str] | None = description.get('classes')
        self.palette: list | None = description.get('palette')
        images = description.get('images') or {}
        self.mean, self.std = images.get('mean'), images.get('std')
        self.channel_order: str | None = images.get('channel_order')
        facts = description.get('preprocessing') or {}
        self.in_channels: int | None = facts.get('channels')
        self.value_range = tuple(facts.get('range', (0, 255)))
        self.size = tuple(facts['size']) if facts.get('size') else None
        backbone = description.get('backbone') or {}
        tokenizer = description.get('tokenizer') or {}
        self.patch_size: int | None = backbone.get('patch_size', tokenizer.get('stride'))
        self.preprocessor = self._find_preprocessor().to(device)
        self.transforms = [*transforms]

    def embed(self, images: Any, layer: int = -1, pool: str = 'mean', **options) -> Embeddings:
        """Return the encoder's features.

        Args:
            layer: Block whose output is taken, counted from 0 or from the end.
            pool: 'mean' of the patch tokens, 'cls' for the class token, (N, C); 'patches' for a
                map (N, h, w, C).
        """
        return run_all(self, 'embed', images, dict(layer=layer, pool=pool), **options)

    def classify(self, images: Any, topk: int = 5, **options) -> Classifications:
        """Return the probabilities of the classes.

        Args:
            topk: Classes in a line of a table.
        """
        return run_all(self, 'classify', images, dict(topk=topk), **options)

    def segment(self, images: Any, **options) -> Segmentations:
        """Return a class for each pixel, in the size of each image."""
        return run_all(self, 'segment', images, {}, **options)

    def tokenize(self, images: Any, **options) -> Tokens:
        """Return visual tokens, of the tokenizer or of the one inside a pre-training."""
        return run_all(self, 'tokenize', images, {}, **options)

    def detokenize(self, tokens: Any) -> np.ndarray:
        """Return images (N, H, W, C), float32 in [0, 1], of token ids.

        Args:
            tokens: What :meth:`tokenize` returns, or ids (h, w) or (N, h, w).

        Raises:
            UserError: The tokenizer cannot decode, or an id is outside of its vocabulary.
        """
        verb_of(self.task, 'tokenize').check(self.module)
        return detokenize(self.module, tokens.ids if isinstance(tokens, Tokens) else tokens)

    def reconstruct(self, images: Any, mask: Any = None, **options) -> Reconstructions:
        """Return original, masked and predicted images, and the best that tokens can do.

        A tokenizer encodes and decodes whole images. The model of a pre-training predicts the
        tokens of masked patches, which its tokenizer decodes, if it can.

        Args:
            mask: Share of the patches, drawn once for all images, by default 0.4; or an array
                (h, w) or (N, h, w), True = masked.
        """
        return run_all(self, 'reconstruct', images, dict(mask=mask), **options)

    def attention(
        self, images: Any, query: tuple[int, int] | None = None, layer: int = -1, **options
    ) -> AttentionMaps:
        """Return what a token attends to in one layer.

        Args:
            query: Patch (row, column); None for the class token.
            layer: Counted from 0 or from the end.
        """
        return run_all(self, 'attention', images, dict(query=query, layer=layer), **options)

    def predict(self, images: Any, **options) -> Result:
        """Do what fits the task: classify, segment, tokenize or embed, as its method does."""
        return run_all(self, PREDICTS[self.task], images, {}, **options)

    def iter_batches(
        self,
        verb: str,
        images: Any,
        batch_size: int = 32,
        workers: int = 0,
        errors: str | None = None,
        progress: bool | None = None,
        **arguments,
    ) -> Iterator[Result]:
        """Yield what a verb says of each batch, as soon as it is there.

        The order is that of ``beit_mm.apis.find_images``. To continue after a stop, give the images
        that are left.

        Args:
            verb: Name of the method, such as 'embed'.
            arguments: Those of the method.

        Raises:
            UserError: The verb does not fit the model, or an image cannot be used and
                ``errors='raise'``.
        """
        return run_batches(self, verb, images, arguments, batch_size, workers, errors, progress)

    def reader(self, images: Sequence[tuple[str, Any]], keep_pixels: bool = False) -> ImageReader:
        """Return the data set that reads images, as ``find_images`` names them."""
        steps = self.transforms
        if not steps:
            raise UserError(
                f'{self.source} does not say how its images are loaded; give the config of its '
                'training (config=...)'
            )
        loader = type(steps[0]).__name__
        is_8_bit = loader == 'LoadImageFromFile' and steps[0].color_type != 'unchanged'
        is_color = is_8_bit and 'gray' not in steps[0].color_type
        arrays = ArrayFormat(
            channels=self.in_channels,
            white=self.value_range[1],
            is_8_bit=is_8_bit,
            is_bgr=is_color,
            is_flat=loader == 'LoadImageFromFile',
            loader=steps[0] if isinstance(steps[0], LoadMultiBandImage) else None,
        )
        multiple = None if self.task == 'segmentation' else self.patch_size
        fit = None
        if self.size is not None:
            options = {k: v for k, v in centered_crop(self.size).items() if k != 'type'}
            fit = TwoViewResizedCrop(**options)
        return ImageReader(images, steps, arrays, keep_pixels, multiple, fit)

    def _find_preprocessor(self) -> nn.Module:
        """Return that of the model; an encoder alone has none."""
        known = dict(self.module.named_children()).get('data_preprocessor')
        if known is not None:
            return known
        if not self.mean:
            raise UserError(
                f'{self.source} does not say how its images are normalized; give the config of its '
                'training (config=...)'
            )
        is_reversed = self.channel_order in ('RGB', 'reversed') and self.in_channels == 3
        return TwoViewDataPreprocessor(self.mean, self.std, bgr_to_rgb=is_reversed)
