import numpy as np
import torch
from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms.transform import Transform
from beit_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackMIMInputs(Transform):
    """Pack the arguments of the model's ``forward``, ready for ``default_collate``.

    Reads img, and token_img and mask where the pipeline has made them. Returns
    dict(inputs=(C, H, W), token_inputs=(C, H', W'), mask=(h, w) bool) and nothing else. From
    CachedTokens, token_ids (h, w) and tokenizer_key take the place of token_inputs. Images are
    (H, W) or (H, W, C); uint8 stays uint8, other types become float32.
    """

    def transform(self, results: dict) -> dict:
        if results.get('img') is None:
            raise UserError(
                "PackMIMInputs: no 'img' in the results; put LoadImageFromFile before it"
            )
        packed = dict(inputs=_to_chw('img', results['img']))
        if results.get('token_img') is not None:
            packed['token_inputs'] = _to_chw('token_img', results['token_img'])
        if results.get('mask') is not None:
            packed['mask'] = torch.from_numpy(np.array(results['mask'], dtype=bool))
        if results.get('token_ids') is not None:
            packed['token_ids'] = torch.from_numpy(np.array(results['token_ids'], dtype=np.int64))
            packed['tokenizer_key'] = results['tokenizer_key']
        return packed


def _to_chw(key: str, img: np.ndarray) -> Tensor:
    """Turn (H, W) into (1, H, W), and (H, W, C) into (C, H, W)."""
    if img.ndim not in (2, 3):
        raise UserError(f'PackMIMInputs: {key} has shape {img.shape}; expected (H, W) or (H, W, C)')
    if img.dtype != np.uint8:
        img = img.astype(np.float32)
    planes = img[None] if img.ndim == 2 else img.transpose(2, 0, 1)
    # A copy of its own: the array may be read-only or part of a larger one.
    return torch.from_numpy(np.array(planes, order='C'))
