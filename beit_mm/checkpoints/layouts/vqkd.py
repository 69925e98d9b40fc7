"""VQ-KD, the tokenizer of BEiT v2: the original's and mmpretrain's names for a ``VQKDTokenizer``.

The original pools with ``fc_norm`` and mmpretrain calls it ``ln1``; it is ``norm`` here. The
counts that both keep of the codes are not needed, and the teacher is not a part of the tokenizer.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.openmmlab import ours
from beit_mm.checkpoints.layouts.rules import DROP_INDEX, Drop, convert

NAME = 'vqkd'
# Ours, and what the original calls it.
CODES, THEIR_CODES = 'codebook.weight', 'quantize.embedding.weight'
INITIALIZED, THEIR_INITIALIZED = 'codebook.initialized', 'quantize.embedding.initted'
COUNTS = ('quantize.cluster_size', 'quantize.embedding.cluster_size')
SUM = 'quantize.embedding.embed_avg'
SAME = {r'(encode|decode)_task_layer\..+': r'\g<0>'}


def matches(names: Collection[str]) -> bool:
    return THEIR_CODES in names and 'encode_task_layer.0.weight' in names


def to_ours(state: Mapping[str, Tensor]) -> Conversion:
    rules = {
        **DROP_INDEX,
        r'(encoder|decoder)\.(?:fc_norm|ln1)\.(.+)': r'\1.norm.\2',
        r'(encoder|decoder)\.(.+)': lambda match: f'{match[1]}.{ours(match[2])}',
        **SAME,
        THEIR_CODES: CODES,
        THEIR_INITIALIZED: INITIALIZED,
        '|'.join([*COUNTS, SUM]): Drop('a count that nothing reads'),
    }
    conversion = convert(state, rules, 'not a part of the tokenizer')
    if INITIALIZED not in conversion.result:
        conversion.make(INITIALIZED, torch.tensor([True]), 'the codes are there')
    return conversion.finish()


def from_ours(state: Mapping[str, Tensor], task: str = 'tokenizer') -> Conversion:
    """Convert for the original code."""
    rules = {
        r'(encoder|decoder)\.norm\.(.+)': r'\1.fc_norm.\2',
        r'(encoder|decoder)\..+': r'\g<0>',
        **SAME,
        CODES: THEIR_CODES,
        INITIALIZED: THEIR_INITIALIZED,
    }
    conversion = convert(state, rules, 'not a part of the original')
    result = conversion.result
    if THEIR_CODES in result:
        codes = result[THEIR_CODES]
        for count in COUNTS:
            conversion.make(count, torch.zeros(len(codes)), 'a count that nothing reads')
        conversion.make(SUM, codes.clone(), 'a sum that nothing reads')
    if THEIR_INITIALIZED in result:
        result[THEIR_INITIALIZED] = result[THEIR_INITIALIZED].float()
    return conversion.finish()
