import torch
import torch.nn as nn
from mmengine.model import BaseModel, BaseModule
from torch import Tensor

from beit_mm.contracts import Backbone, MIMHead, MIMNeck, Target, TokenSource, UserError, warn
from beit_mm.contracts.derived import facts_of_backbone, facts_of_target, with_derived
from beit_mm.contracts.errors import check_choice
from beit_mm.contracts.feature_extractor import has_drawn_weights
from beit_mm.contracts.starting_weights import StartingWeights, pretrained_steps
from beit_mm.models.mim_batch import (
    CachedTokensCheck,
    check_batch,
    check_term_heads,
    split_by_image,
)
from beit_mm.registry import MODELS

TOKENIZER_DTYPES = dict(bfloat16=torch.bfloat16, float16=torch.float16)


@MODELS.register_module()
class MaskedImageModel(StartingWeights, BaseModel, TokenSource):
    """BEiT pre-training (arXiv 2106.08254, section 2.3): predict the tokens of masked patches.

    The four parts are plugins, see ``beit_mm.contracts``. Arguments of neck and head that follow
    from backbone and tokenizer (``dims``, ``num_heads``, ``depth``, ``vocab_size``,
    ``target_dims``) may be left out of the config. The tokenizer is frozen: it has no gradient and
    stays in eval mode.

    Args:
        tokenizer: A :class:`~beit_mm.contracts.Target`: images in [0, 1] -> token ids.
        backbone: A :class:`~beit_mm.contracts.Backbone`, or any module with
            ``forward(images, mask) -> tuple``; then ``dims`` of neck and head have to be given.
        neck: A :class:`~beit_mm.contracts.MIMNeck`: outputs of the backbone -> features (M, C).
        head: A :class:`~beit_mm.contracts.MIMHead`: features -> losses and predictions.
        tokenizer_dtype: ``bfloat16`` or ``float16`` runs the tokenizer in this precision, which is
            faster and changes some ids (docs/performance.md). None keeps float32, under autocast
            too.

    Raises:
        UserError: A part does not derive from its contract; vocabularies, channels or grids of the
            parts do not agree; the batch is not what PackMIMInputs and the preprocessor make.
    """

    def __init__(
        self,
        tokenizer: dict,
        backbone: dict,
        neck: dict,
        head: dict,
        tokenizer_dtype: str | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        check_choice('model', (None, *TOKENIZER_DTYPES), tokenizer_dtype=tokenizer_dtype)
        if isinstance(data_preprocessor, dict):  # MMEngine's own build needs a default scope
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        known = facts_of_backbone(self.backbone)
        self.neck = MODELS.build(with_derived('neck', neck, MODELS, known))
        if isinstance(self.neck, MIMNeck) and self.neck.out_dims is not None:
            known['dims'] = self.neck.out_dims
        known |= facts_of_target(tokenizer, MODELS)
        head = with_derived('head', head, MODELS, known)
        self.head = MODELS.build(head)
        own = self.neck.own_heads if isinstance(self.neck, MIMNeck) else ()
        self.term_heads = nn.ModuleDict({term: MODELS.build(head) for term in own})
        self.tokenizer = MODELS.build(tokenizer).requires_grad_(False).eval()
        self.tokenizer_dtype = TOKENIZER_DTYPES.get(tokenizer_dtype)
        made_by = dict(tokenizer, tokenizer_dtype=tokenizer_dtype) if tokenizer_dtype else tokenizer
        self.cached_tokens = CachedTokensCheck(self.tokenizer, made_by, self.data_preprocessor)
        self._check_parts(known['dims'])
        self.vocab_size = self.tokenizer.vocab_size

    def forward(
        self,
        inputs: Tensor,
        token_inputs: Tensor | None = None,
        mask: Tensor | None = None,
        mode: str = 'tensor',
        **cached: Tensor,
    ) -> tuple[Tensor, ...] | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Encode, train on or evaluate one batch.

        Args:
            inputs: Images for the encoder, (B, C, H, W), normalized.
            token_inputs: The same crops for the tokenizer, (B, C, H', W') in [0, 1].
            mask: (B, h, w) bool, True = masked.
            cached: ``token_ids`` (B, h, w) and ``tokenizer_key`` (B,) of CachedTokens, in the place
                of ``token_inputs``.

        Returns:
            ``tensor``: the backbone's outputs. ``loss``: losses and values for the log.
            ``predict``: for each image a dict with the ``mask`` (h, w) and what the head's
            ``samples`` says of its masked patches.
        """
        if mode == 'tensor':
            return self.backbone(inputs, mask)
        if mode not in ('loss', 'predict'):
            raise ValueError(f"mode={mode!r}: expected 'tensor', 'loss' or 'predict'")
        check_batch(token_inputs, mask, cached, self.head, self.tokenizer)
        everywhere = mode == 'loss' and self.head.predicts_all
        where = torch.ones_like(mask) if everywhere else mask  # (B, h, w)
        features = self.features(inputs, mask, where)  # (M, C), or a dict of terms
        targets = self.targets(token_inputs, where, **cached)  # (M,)
        if mode == 'loss':
            return self.losses(features, targets, self.extras(token_inputs, where))
        main = features['main'] if isinstance(features, dict) else features
        return split_by_image(self.head.samples(main, targets), mask)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the backbone's outputs of images without a mask, for mmpretrain's tools."""
        return self.backbone(inputs)

    def features(self, inputs: Tensor, mask: Tensor, where: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the features of the patches in ``where``, one row each."""
        if not self.neck.takes_bias:
            return self.neck(self.backbone(inputs, mask), where)
        if isinstance(self.backbone, Backbone) and self.backbone.rel_pos == 'shared':
            outputs, bias = self.backbone(inputs, mask, return_bias=True)
        else:
            outputs, bias = self.backbone(inputs, mask), None
        return self.neck(outputs, where, bias)

    def targets(self, token_inputs: Tensor | None, where: Tensor, **cached: Tensor) -> Tensor:
        """Return the targets of the patches in ``where``: ids (M,), or values (M, D)."""
        if not cached:
            return self.encode(token_inputs, where)
        tokens = self.cached_tokens(**cached)  # (B, h, w)
        self.tokenizer.check_grid(tokens.shape[1:], where)
        return tokens[where]

    @torch.no_grad()
    def encode(self, token_inputs: Tensor, where: Tensor | None = None) -> Tensor:
        """Return the tokens (B, h, w) of images in [0, 1], or those of the patches in ``where``."""
        with self._tokenizer_precision(token_inputs):
            if where is None:
                tokens = self.tokenizer.encode(token_inputs.float())
            else:
                tokens = self.tokenizer.encode_at(token_inputs.float(), where)
        return tokens.float() if tokens.is_floating_point() else tokens  # values, or ids

    @torch.no_grad()
    def extras(self, token_inputs: Tensor | None, where: Tensor) -> dict[str, Tensor]:
        """Return what the head ``needs`` of the tokenizer beside the targets."""
        found = {}
        with self._tokenizer_precision(where):
            if 'codebook' in self.head.needs:
                found['codebook'] = self.tokenizer.code_vectors()
            if 'posterior' in self.head.needs:
                found['posterior'] = self.tokenizer.posterior(token_inputs.float())[where]
        return found

    def _tokenizer_precision(self, tensor: Tensor) -> torch.autocast:
        dtype = self.tokenizer_dtype
        return torch.autocast(tensor.device.type, dtype, enabled=dtype is not None)

    def losses(
        self, features: Tensor | dict[str, Tensor], targets: Tensor, extras: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the head's losses; with several terms of features, each under its name."""
        if self.training and self.vocab_size is not None:
            self.latest_ids = targets
        if isinstance(features, Tensor):
            return self.head.loss(features, targets, **extras)
        if 'main' not in features:
            raise UserError(
                f'model.neck.type={type(self.neck).__name__} returns the terms {[*features]}; '
                "one has to be 'main', by which the model predicts"
            )
        return {
            f'{name}_{term}': value
            for term, rows in features.items()
            for name, value in self.head_of(term).loss(rows, targets, **extras).items()
        }

    def head_of(self, term: str) -> MIMHead:
        """Return the head that predicts with a term of the features."""
        return self.term_heads[term] if term in self.term_heads else self.head

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        check_term_heads(self.term_heads, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def train(self, mode: bool = True) -> 'MaskedImageModel':
        super().train(mode)
        self.tokenizer.eval()
        return self

    def init_weights(self) -> None:
        """Draw and load the weights of the parts, and warn of a tokenizer that stays random.

        Predicting the ids of random weights looks like a training that goes well.
        """
        parts = [part for part in self.tokenizer.modules() if isinstance(part, BaseModule)]
        is_named = self.tokenizer.init_cfg or any(pretrained_steps(p.init_cfg) for p in parts)
        if has_drawn_weights(self.tokenizer) and not is_named and not self.is_init:
            warn(
                'model.tokenizer has no init_cfg: unless a checkpoint of the whole model is '
                'loaded next, its tokens are those of random weights; set '
                "init_cfg=dict(type='Pretrained', checkpoint=...) to use a trained one"
            )
        super().init_weights()

    def _check_parts(self, dims: int | None) -> None:
        for name, contract in dict(tokenizer=Target, neck=MIMNeck, head=MIMHead).items():
            if not isinstance(part := self._modules[name], contract):
                raise UserError(
                    f'model.{name}.type={type(part).__name__} does not derive from '
                    f'beit_mm.contracts.{contract.__name__}; derive it, or choose another'
                )
        self.neck.check(self.backbone)
        self.head.check(self.tokenizer, dims)
