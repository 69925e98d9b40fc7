from collections.abc import Mapping

import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import Target, UserError
from beit_mm.contracts.digest import module_sha256, tokens_key
from beit_mm.models.two_view_data_preprocessor import TwoViewDataPreprocessor


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
