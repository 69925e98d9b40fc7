"""Checks and views of one batch of masked image modeling, and of tokens from a cache in it."""

from collections.abc import Collection, Mapping

import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import MIMHead, Target, UserError
from beit_mm.contracts.digest import module_sha256, tokens_key
from beit_mm.models.two_view_data_preprocessor import TwoViewDataPreprocessor


def split_by_image(samples: Mapping[str, Tensor], mask: Tensor) -> list[dict[str, Tensor]]:
    """Return for each image its ``mask`` (h, w) and its rows of ``samples``.

    Args:
        samples: Tensors of M rows, in the order of ``mask``.
        mask: (B, h, w) bool, M of them True.
    """
    lengths = mask.flatten(1).sum(1).tolist()
    parts = zip(*(rows.split(lengths) for rows in samples.values()), mask, strict=True)
    return [dict(zip((*samples, 'mask'), image, strict=True)) for image in parts]


def check_batch(
    token_inputs: Tensor | None,
    mask: Tensor | None,
    cached: Mapping[str, Tensor],
    head: MIMHead,
    target: Target,
) -> None:
    """Raise a UserError unless the batch has a mask, and tokens or the view they are made of."""
    if cached and 'posterior' in head.needs:
        raise UserError(
            "model.head.target needs the tokenizer's posterior, but a token cache has ids alone; "
            "set model.head.target='ids', or train without CachedTokens"
        )
    if token_inputs is None and not cached:
        raise UserError(
            "The batch has no token_inputs; set token_size in the pipeline's TwoViewResizedCrop, "
            'which makes the second view'
        )
    if mask is None:
        raise UserError(
            'The batch has no mask; put a mask transform, for example '
            "dict(type='BlockwiseMask', ...), before the pipeline's PackMIMInputs"
        )
    if mask.dtype != torch.bool or mask.ndim != 3:
        raise UserError(
            f'mask is {mask.dtype} of shape {tuple(mask.shape)}: expected torch.bool (B, h, w), '
            "True = masked, as the pipeline's PackMIMInputs makes it"
        )
    if not cached:
        _check_view(token_inputs, target)


def check_term_heads(own: Collection[str], state: Collection[str], prefix: str) -> None:
    """Raise a UserError unless the checkpoint ``state`` has own heads for the model's terms alone.

    One without any tensor of a head, an encoder for example, fits every model.
    """
    heads = [name[len(prefix) :] for name in state if name.startswith(f'{prefix}term_heads.')]
    found = {name.split('.')[1] for name in heads}
    if found != set(own) and (found or f'{prefix}head.proj.weight' in state):
        raise UserError(
            f'The terms with a head of their own are {sorted(found)} in the checkpoint and '
            f'{sorted(own)} in the model; set model.neck.shared_head={not found}, as the '
            "checkpoint was trained (the original's shared_lm_head)"
        )


def _check_view(token_inputs: Tensor, target: Target) -> None:
    if not token_inputs.is_floating_point():
        raise UserError(
            f'token_inputs are {token_inputs.dtype} and not numbers in [0, 1]; set '
            "data_preprocessor=dict(type='TwoViewDataPreprocessor', ...)"
        )
    channels = token_inputs.shape[1]
    if target.in_channels not in (None, channels):
        raise UserError(
            f'model.tokenizer.in_channels={target.in_channels}, but token_inputs have {channels} '
            f'channels; use a tokenizer trained with in_channels={channels}, or change the loading '
            'of the images'
        )


class CachedTokensCheck:
    """Compares the tokens of a cache with the tokenizer and the pixels of a model, once.

    Args:
        target: The tokenizer of the model, frozen.
        config: Its config.
        preprocessor: The data preprocessor of the model.
    """

    def __init__(self, target: Target, config: Mapping, preprocessor: nn.Module):
        self.target, self.config, self.preprocessor = target, dict(config), preprocessor
        self._is_checked = False

    def __call__(self, token_ids: Tensor, tokenizer_key: Tensor | None = None) -> Tensor:
        """Return ``token_ids`` (B, h, w), checked by the ``tokenizer_key`` (B,) beside them.

        Raises:
            UserError: They were made by another tokenizer, or of pixels in another scale or order.
        """
        if tokenizer_key is not None and not self._is_checked:
            ours, pixels = self.sha256(), self.pixels()
            if (tokenizer_key != tokens_key(ours, pixels)).any():
                raise UserError(
                    'token_ids of the batch come from another tokenizer than model.tokenizer, '
                    f'whose SHA-256 (config and weights) is {ours}, or from pixels in another '
                    f'scale or order than those of data_preprocessor, {pixels}; the index.json of '
                    'the cache has its own (tokenizer, pixels). Set them to those that made the '
                    'cache, or make a cache for this config'
                )
            self._is_checked = True
        return token_ids

    def sha256(self) -> str:
        """Return the digest of the tokenizer's config and weights."""
        return module_sha256(self.target, self.config)

    def pixels(self) -> dict:
        """Return how the tokenizer's view comes from the loaded pixels."""
        known = isinstance(self.preprocessor, TwoViewDataPreprocessor)
        told = self.preprocessor.token_pixels() if known else {}
        return dict(type=type(self.preprocessor).__name__, **told)
