from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn
from mmengine.structures import BaseDataElement
from torch import Tensor

from beit_mm.apis.images.image_reader import LoadedImage

SHARED = ('ori_shape', 'img_shape', 'scale_factor', 'img_path')


@dataclass
class Batch:
    """Images of one size, on the device and normalized as in the training.

    Attributes:
        images: As they were read.
        inputs: (B, C, H, W), for the encoder or for a tokenizer that is the whole model.
        token_inputs: (B, C, H', W') in [0, 1], for the tokenizer of a pre-training.
        samples: Facts of each image, which segmentors read and write to; None for others.
    """

    images: Sequence[LoadedImage]
    inputs: Tensor
    token_inputs: Tensor | None
    samples: list[BaseDataElement] | None

    @classmethod
    def of(
        cls, images: Sequence[LoadedImage], preprocessor: nn.Module, with_samples: bool
    ) -> 'Batch':
        """Stack images of one size and have the preprocessor of the model normalize them."""
        data = dict(inputs=torch.stack([image.inputs for image in images]))
        if images[0].token_inputs is not None:
            data['token_inputs'] = torch.stack([image.token_inputs for image in images])
        if with_samples:
            data['data_samples'] = []
            for image in images:
                meta = {name: image.meta[name] for name in SHARED if name in image.meta}
                data['data_samples'].append(BaseDataElement(metainfo=meta))
        data = preprocessor(data, False)  # the samples are copies, with what was padded
        return cls(images, data['inputs'], data.get('token_inputs'), data.get('data_samples'))
