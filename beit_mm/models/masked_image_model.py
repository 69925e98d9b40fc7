import logging

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from beit_mm.registry import MODELS


@MODELS.register_module()
class MaskedImageModel(BaseModel):
    """BEiT pre-training (arXiv 2106.08254, section 2.3): predict the tokens of masked patches.

    Tokenizer, backbone, neck and head are plugins; this class is the sentence they make. The
    tokenizer is frozen: no gradient, always in eval mode, run in full precision.

    Args:
        tokenizer: ``encode(images in [0, 1]) -> ids``, with ``vocab_size`` and ``stride``.
        backbone: ``forward(images, mask) -> tuple``.
        neck: ``forward(outputs, mask) -> (M, C)``, or a dict of several (M, C), each a term of the
            loss with the one head; ``main`` is what is predicted with. One that says
            ``needs_bias`` is given the backbone's shared attention bias as well.
        head: ``loss(feats, ids)`` and ``predict(feats)``.

    Raises:
        ValueError: Vocabularies, channels, grids or strides of the parts don't agree, the batch
            isn't what PackMIMInputs and TwoViewDataPreprocessor make, or the tokenizer's
            checkpoint has nothing for it.
    """

    def __init__(
        self,
        tokenizer: dict,
        backbone: dict,
        neck: dict,
        head: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        if isinstance(data_preprocessor, dict):  # MMEngine would look in the default scope alone
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.head = MODELS.build(head)
        self.tokenizer = MODELS.build(tokenizer).requires_grad_(False).eval()
        self._check_parts()

    def forward(
        self,
        inputs: Tensor,
        token_inputs: Tensor | None = None,
        mask: Tensor | None = None,
        mode: str = 'tensor',
    ) -> tuple[Tensor, ...] | dict[str, Tensor] | list[dict[str, Tensor]]:
        """One batch: ``inputs`` (B, C, H, W), ``token_inputs`` (B, C, H', W'), ``mask`` (B, h, w).

        ``tensor`` gives the backbone's outputs; ``loss`` the losses; ``predict`` a dict for each
        image with ``pred_ids``, ``target_ids`` and ``loss`` (M_i,) and the ``mask`` (h, w).
        """
        if mode == 'tensor':
            return self.backbone(inputs, mask)
        if mode not in ('loss', 'predict'):
            raise ValueError(f"mode={mode!r}: expected 'tensor', 'loss' or 'predict'")
        self._check_batch(token_inputs, mask)
        ids = self.encode(token_inputs)  # (B, h, w)
        feats = self._feats(inputs, mask)  # (M, C); refuses a mask of another grid than its patches
        self._check_grid(ids, mask)
        targets = ids[mask]  # (M,)
        if mode == 'loss':
            return dict(**self._losses(feats, targets), **_usage(targets, self.head.vocab_size))
        return self._predict(feats if isinstance(feats, Tensor) else feats['main'], targets, mask)

    @torch.no_grad()
    def encode(self, token_inputs: Tensor) -> Tensor:
        """(B, C, H', W') in [0, 1] -> ids (B, h, w), in full precision whatever autocast says."""
        with torch.autocast(token_inputs.device.type, enabled=False):
            return self.tokenizer.encode(token_inputs.float())

    def train(self, mode: bool = True) -> 'MaskedImageModel':
        super().train(mode)
        self.tokenizer.eval()
        return self

    def init_weights(self) -> None:
        """As ``init_cfg`` of the parts says; no tokenizer is left random without a word.

        MMEngine only logs that the names in a checkpoint fit nothing, and predicting the ids of
        random weights looks like a training that goes well.
        """
        init_cfg, is_init = self.tokenizer.init_cfg, self.tokenizer.is_init
        before = [p.double().sum().item() for p in self.tokenizer.parameters()]
        super().init_weights()
        after = [p.double().sum().item() for p in self.tokenizer.parameters()]
        if is_init or not before:
            return
        if not init_cfg:
            print_log(
                'model.tokenizer has no init_cfg: unless a checkpoint of the whole model is '
                'loaded next, its tokens are those of random weights; set '
                "init_cfg=dict(type='Pretrained', checkpoint=...) to use a trained one",
                logger='current',
                level=logging.WARNING,
            )
        elif before == after:
            raise ValueError(
                f"model.tokenizer.init_cfg={init_cfg} has changed none of the tokenizer's "
                f'{len(before)} parameters; set checkpoint to one of a '
                f"{type(self.tokenizer).__name__}, and prefix='tokenizer.' if it is the checkpoint "
                'of a masked image model'
            )

    def _feats(self, inputs: Tensor, mask: Tensor) -> Tensor | dict[str, Tensor]:
        if getattr(self.neck, 'needs_bias', False):
            outputs, bias = self.backbone(inputs, mask, return_bias=True)
            return self.neck(outputs, mask, bias)
        return self.neck(self.backbone(inputs, mask), mask)

    def _losses(self, feats: Tensor | dict[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        if isinstance(feats, Tensor):
            return self.head.loss(feats, targets)
        return {
            f'{name}_{term}': value
            for term, term_feats in feats.items()
            for name, value in self.head.loss(term_feats, targets).items()
        }

    def _predict(self, feats: Tensor, targets: Tensor, mask: Tensor) -> list[dict[str, Tensor]]:
        logits = self.head.predict(feats)
        losses = nn.functional.cross_entropy(logits, targets, reduction='none')
        lengths = mask.flatten(1).sum(1).tolist()
        parts = (t.split(lengths) for t in (logits.argmax(-1), targets, losses))
        return [
            dict(pred_ids=pred, target_ids=target, loss=loss, mask=one_mask)
            for pred, target, loss, one_mask in zip(*parts, mask, strict=True)
        ]

    def _check_parts(self) -> None:
        if hasattr(self.neck, 'check_backbone'):
            self.neck.check_backbone(self.backbone)
        if self.head.vocab_size != self.tokenizer.vocab_size:
            raise ValueError(
                f'model.head.vocab_size={self.head.vocab_size}, but model.tokenizer.vocab_size='
                f'{self.tokenizer.vocab_size}; the head predicts ids of this tokenizer, set them '
                'equal'
            )
        dims = getattr(self.backbone, 'embed_dims', None)
        for name in ('neck', 'head'):
            own = getattr(getattr(self, name), 'dims', dims)
            if dims is not None and own != dims:
                raise ValueError(
                    f'model.{name}.dims={own}, but the backbone gives {dims} channels; set '
                    f'model.{name}.dims={dims}'
                )

    def _check_batch(self, token_inputs: Tensor | None, mask: Tensor | None) -> None:
        if token_inputs is None:
            raise ValueError(
                "The batch has no token_inputs; set token_size in the pipeline's "
                'TwoViewResizedCrop, which makes the second view'
            )
        if mask is None:
            raise ValueError(
                'The batch has no mask; put a mask transform, for example '
                "dict(type='BlockwiseMask', ...), before the pipeline's PackMIMInputs"
            )
        if not token_inputs.is_floating_point():
            raise ValueError(
                f'token_inputs are {token_inputs.dtype} and not numbers in [0, 1]; set '
                "data_preprocessor=dict(type='TwoViewDataPreprocessor', ...)"
            )
        if mask.dtype != torch.bool or mask.ndim != 3:
            raise ValueError(
                f'mask is {mask.dtype} of shape {tuple(mask.shape)}: expected torch.bool '
                "(B, h, w), True = masked, as the pipeline's PackMIMInputs makes it"
            )
        channels = token_inputs.shape[1]
        expected = getattr(self.tokenizer, 'in_channels', channels)
        if channels != expected:
            raise ValueError(
                f'model.tokenizer.in_channels={expected}, but token_inputs have {channels} '
                f'channels; use a tokenizer trained with in_channels={channels}, or change the '
                'loading of the images'
            )

    def _check_grid(self, ids: Tensor, mask: Tensor) -> None:
        if ids.shape != mask.shape:
            h, w = mask.shape[1:]
            stride = self.tokenizer.stride
            raise ValueError(
                f'The tokenizer makes {ids.shape[1]} x {ids.shape[2]} tokens of an image, but the '
                f'backbone has {h} x {w} patches; with model.tokenizer.stride={stride} set '
                f'token_size=({h * stride}, {w * stride}) in TwoViewResizedCrop'
            )


@torch.no_grad()
def _usage(targets: Tensor, vocab_size: int) -> dict[str, Tensor]:
    """Different targets of the batch, and exp of the entropy of their histogram."""
    counts = torch.bincount(targets, minlength=vocab_size).float()
    share = counts / counts.sum().clamp(min=1)
    return dict(
        target_codes=(counts > 0).sum().float(),
        target_perplexity=torch.special.entr(share).sum().exp(),
    )
