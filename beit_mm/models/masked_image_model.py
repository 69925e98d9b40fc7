import torch
import torch.nn as nn
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
        neck: ``forward(outputs, mask) -> (M, C)``.
        head: ``loss(feats, ids)`` and ``predict(feats)``.

    Raises:
        ValueError: Vocabularies, channels, grids or strides of the parts don't agree.
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
        if token_inputs is None or mask is None:
            missing = 'token_inputs' if token_inputs is None else 'mask'
            raise ValueError(
                f'The batch has no {missing}; TwoViewResizedCrop with token_size and a mask '
                'transform such as BlockwiseMask, before PackMIMInputs, put them there'
            )
        ids = self.encode(token_inputs)  # (B, h, w)
        self._check_grid(ids, mask)
        feats = self.neck(self.backbone(inputs, mask), mask)  # (M, C)
        targets = ids[mask]  # (M,)
        if mode == 'loss':
            return dict(**self.head.loss(feats, targets), **_usage(targets, self.head.vocab_size))
        return self._predict(feats, targets, mask)

    @torch.no_grad()
    def encode(self, token_inputs: Tensor) -> Tensor:
        """(B, C, H', W') in [0, 1] -> ids (B, h, w), in full precision whatever autocast says."""
        with torch.autocast(token_inputs.device.type, enabled=False):
            return self.tokenizer.encode(token_inputs.float())

    def train(self, mode: bool = True) -> 'MaskedImageModel':
        super().train(mode)
        self.tokenizer.eval()
        return self

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

    def _check_grid(self, ids: Tensor, mask: Tensor) -> None:
        if ids.shape != mask.shape:
            h, w = mask.shape[1:]
            stride = self.tokenizer.stride
            raise ValueError(
                f'The tokenizer makes {ids.shape[1]} x {ids.shape[2]} tokens of an image, but the '
                f'mask has {h} x {w} patches; with model.tokenizer.stride={stride} set '
                f'token_size=({h * stride}, {w * stride}) in TwoViewResizedCrop, or change the '
                "mask transform's grid"
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
