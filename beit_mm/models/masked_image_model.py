import logging

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from beit_mm.contracts.digest import module_sha256, tokens_key
from beit_mm.models.layers.chance_level import ChanceLevel
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
        head: ``loss(feats, ids)`` and ``predict(feats)``. One whose ``positions`` are ``all`` is
            trained on every patch; one that ``needs`` ``codebook`` or ``posterior`` is given the
            tokenizer's as well.
        usage_window: ``target_codes``, ``target_perplexity``, ``chance`` (their entropy, nats) and
            ``gain_over_unigram`` (1 - loss / chance) describe the targets of this many latest training
            steps (of all processes).

    Raises:
        ValueError: Vocabularies, channels, grids or strides of the parts don't agree, the batch
            isn't what PackMIMInputs and TwoViewDataPreprocessor make.
    """

    def __init__(
        self,
        tokenizer: dict,
        backbone: dict,
        neck: dict,
        head: dict,
        usage_window: int = 50,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        if isinstance(data_preprocessor, dict):  # MMEngine's would need a default scope
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.head = MODELS.build(head)
        self.tokenizer = MODELS.build(tokenizer).requires_grad_(False).eval()
        self._tokenizer_config = dict(tokenizer)
        self._cache_is_ours = False
        self._check_parts()
        self.chance = None
        if self.tokenizer.vocab_size is not None:
            self.chance = ChanceLevel(self.tokenizer.vocab_size, usage_window)

    def forward(
        self,
        inputs: Tensor,
        token_inputs: Tensor | None = None,
        mask: Tensor | None = None,
        mode: str = 'tensor',
        token_ids: Tensor | None = None,
        tokenizer_key: Tensor | None = None,
    ) -> tuple[Tensor, ...] | dict[str, Tensor] | list[dict[str, Tensor]]:
        """One batch: ``inputs`` (B, C, H, W), ``token_inputs`` (B, C, H', W'), ``mask`` (B, h, w).

        From a token cache come ``token_ids`` (B, h, w) instead of ``token_inputs``, and a
        ``tokenizer_key`` (B,) that says whose ids they are.
        ``tensor`` gives the backbone's outputs; ``loss`` the losses; ``predict`` a dict for each
        image with ``pred_ids``, ``target_ids`` and ``loss`` (M_i,) and the ``mask`` (h, w).
        """
        if mode == 'tensor':
            return self.backbone(inputs, mask)
        if mode not in ('loss', 'predict'):
            raise ValueError(f"mode={mode!r}: expected 'tensor', 'loss' or 'predict'")
        self._check_batch(token_inputs, mask, token_ids)
        if token_ids is None:
            ids = self.encode(token_inputs)  # (B, h, w)
        else:
            self._check_cache(tokenizer_key)
            ids = token_ids
        everywhere = mode == 'loss' and getattr(self.head, 'positions', 'masked') == 'all'
        where = torch.ones_like(mask) if everywhere else mask
        # (M, C); the backbone refuses a mask of another grid than its patches
        feats = self._feats(inputs, mask, where)
        self._check_grid(ids, mask)
        targets = ids[where]  # (M,)
        if mode == 'loss':
            losses = self._losses(feats, targets, **self._extras(token_inputs, where))
            return dict(**losses, **self._progress(losses, targets))
        return self._predict(feats if isinstance(feats, Tensor) else feats['main'], targets, mask)

    @torch.no_grad()
    def encode(self, token_inputs: Tensor) -> Tensor:
        """(B, C, H', W') in [0, 1] -> ids (B, h, w), in full precision whatever autocast says."""
        with torch.autocast(token_inputs.device.type, enabled=False):
            return self.tokenizer.encode(token_inputs.float())

    def tokenizer_sha256(self) -> str:
        """Of the tokenizer's config and weights, by which a token cache knows it."""
        return module_sha256(self.tokenizer, self._tokenizer_config)

    def token_pixels(self) -> dict:
        """How the tokenizer's view comes from the loaded pixels."""
        preprocessor = self.data_preprocessor
        told = getattr(preprocessor, 'token_pixels', dict)()
        return dict(type=type(preprocessor).__name__, **told)

    def train(self, mode: bool = True) -> 'MaskedImageModel':
        super().train(mode)
        self.tokenizer.eval()
        return self

    def init_weights(self) -> None:
        """As ``init_cfg`` of the parts says; a tokenizer left random is named in the log.

        Predicting the ids of random weights looks like a training that goes well.
        """
        learned = next(self.tokenizer.parameters(), None) is not None
        if learned and not self.tokenizer.init_cfg and not self.is_init:
            print_log(
                'model.tokenizer has no init_cfg: unless a checkpoint of the whole model is '
                'loaded next, its tokens are those of random weights; set '
                "init_cfg=dict(type='Pretrained', checkpoint=...) to use a trained one",
                logger='current',
                level=logging.WARNING,
            )
        super().init_weights()

    def usage_counts(self) -> Tensor | None:
        """Counts (V,) of the targets of the latest training steps of this process."""
        return None if self.chance is None else self.chance.usage.counts.sum(0)

    def _feats(self, inputs: Tensor, mask: Tensor, where: Tensor) -> Tensor | dict[str, Tensor]:
        if getattr(self.neck, 'needs_bias', False):
            outputs, bias = self.backbone(inputs, mask, return_bias=True)
            return self.neck(outputs, where, bias)
        return self.neck(self.backbone(inputs, mask), where)

    @torch.no_grad()
    def _extras(self, token_inputs: Tensor | None, where: Tensor) -> dict[str, Tensor]:
        """What the head needs of the tokenizer beside the ids."""
        needs = getattr(self.head, 'needs', None)
        if needs is None:
            return {}
        with torch.autocast(where.device.type, enabled=False):
            if needs == 'codebook':
                return dict(codebook=self.tokenizer.code_vectors())
            return dict(posterior=self.tokenizer.posterior(token_inputs.float())[where])

    def _progress(self, losses: dict[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """How the window's targets are spread, and what part of their entropy is predicted."""
        if self.chance is None or not self.training:
            return {}
        names = ('cross_entropy', 'loss', 'cross_entropy_main', 'loss_main')
        return self.chance(targets, next(losses[name] for name in names if name in losses))

    def _losses(
        self, feats: Tensor | dict[str, Tensor], targets: Tensor, **extras: Tensor
    ) -> dict[str, Tensor]:
        if isinstance(feats, Tensor):
            return self.head.loss(feats, targets, **extras)
        return {
            f'{name}_{term}': value
            for term, term_feats in feats.items()
            for name, value in self.head.loss(term_feats, targets, **extras).items()
        }

    def _predict(self, feats: Tensor, targets: Tensor, mask: Tensor) -> list[dict[str, Tensor]]:
        pred = self.head.predict(feats)
        if self.head.vocab_size is None:  # continuous targets
            parts = dict(pred=pred, target=targets, loss=self.head.error(pred, targets))
        else:
            losses = nn.functional.cross_entropy(pred, targets, reduction='none')
            parts = dict(pred_ids=pred.argmax(-1), target_ids=targets, loss=losses)
        lengths = mask.flatten(1).sum(1).tolist()
        images = zip(*(part.split(lengths) for part in parts.values()), mask, strict=True)
        return [dict(zip((*parts, 'mask'), image, strict=True)) for image in images]

    def _check_parts(self) -> None:
        if hasattr(self.neck, 'check_backbone'):
            self.neck.check_backbone(self.backbone)
        if self.head.vocab_size != self.tokenizer.vocab_size:
            raise ValueError(
                f'model.head.vocab_size={self.head.vocab_size}, but model.tokenizer.vocab_size='
                f'{self.tokenizer.vocab_size}; the head predicts ids of this tokenizer, set them '
                'equal'
            )
        needs, method = getattr(self.head, 'needs', None), None
        if needs is not None:
            method = dict(codebook='code_vectors', posterior='posterior')[needs]
        if method is not None and not hasattr(self.tokenizer, method):
            raise ValueError(
                f"model.head.target needs the tokenizer's {needs}, but "
                f"{type(self.tokenizer).__name__} has no {method}(); set model.head.target='ids' "
                'or use a tokenizer that has one, for example a DVAETokenizer'
            )
        given = getattr(self.tokenizer, 'target_dims', None)
        if given is not None and self.head.target_dims != given:
            raise ValueError(
                f'model.head.target_dims={self.head.target_dims}, but model.tokenizer gives '
                f'{given} values for each patch; set model.head.target_dims={given}'
            )
        dims = getattr(self.backbone, 'embed_dims', None)
        for name in ('neck', 'head'):
            own = getattr(getattr(self, name), 'dims', dims)
            if dims is not None and own != dims:
                raise ValueError(
                    f'model.{name}.dims={own}, but the backbone gives {dims} channels; set '
                    f'model.{name}.dims={dims}'
                )

    def _check_cache(self, tokenizer_key: Tensor | None) -> None:
        """Once: the tokenizer is frozen, and a cache has one."""
        if tokenizer_key is None or self._cache_is_ours:
            return
        ours, pixels = self.tokenizer_sha256(), self.token_pixels()
        if (tokenizer_key != tokens_key(ours, pixels)).any():
            raise ValueError(
                'token_ids of the batch come from another tokenizer than model.tokenizer, whose '
                f'SHA-256 (config and weights) is {ours}, or from pixels in another scale or order '
                f'than those of data_preprocessor, {pixels}; the index.json of the cache has its '
                'own (tokenizer, pixels). Set them to those that made the cache, or make a cache '
                'for this config'
            )
        self._cache_is_ours = True

    def _check_batch(
        self, token_inputs: Tensor | None, mask: Tensor | None, token_ids: Tensor | None
    ) -> None:
        if token_ids is not None and getattr(self.head, 'needs', None) == 'posterior':
            raise ValueError(
                "model.head.target needs the tokenizer's posterior, but a token cache has ids "
                "alone; set model.head.target='ids', or train without CachedTokens"
            )
        if token_inputs is None and token_ids is None:
            raise ValueError(
                "The batch has no token_inputs; set token_size in the pipeline's "
                'TwoViewResizedCrop, which makes the second view'
            )
        if mask is None:
            raise ValueError(
                'The batch has no mask; put a mask transform, for example '
                "dict(type='BlockwiseMask', ...), before the pipeline's PackMIMInputs"
            )
        if token_ids is None and not token_inputs.is_floating_point():
            raise ValueError(
                f'token_inputs are {token_inputs.dtype} and not numbers in [0, 1]; set '
                "data_preprocessor=dict(type='TwoViewDataPreprocessor', ...)"
            )
        if mask.dtype != torch.bool or mask.ndim != 3:
            raise ValueError(
                f'mask is {mask.dtype} of shape {tuple(mask.shape)}: expected torch.bool '
                "(B, h, w), True = masked, as the pipeline's PackMIMInputs makes it"
            )
        if token_ids is not None:
            return
        channels = token_inputs.shape[1]
        expected = getattr(self.tokenizer, 'in_channels', channels)
        if channels != expected:
            raise ValueError(
                f'model.tokenizer.in_channels={expected}, but token_inputs have {channels} '
                f'channels; use a tokenizer trained with in_channels={channels}, or change the '
                'loading of the images'
            )

    def _check_grid(self, ids: Tensor, mask: Tensor) -> None:
        if ids.shape[:3] != mask.shape:
            h, w = mask.shape[1:]
            stride = self.tokenizer.stride
            raise ValueError(
                f'The tokenizer makes {ids.shape[1]} x {ids.shape[2]} tokens of an image, but the '
                f'backbone has {h} x {w} patches; with model.tokenizer.stride={stride} set '
                f'token_size=({h * stride}, {w * stride}) in TwoViewResizedCrop'
            )
