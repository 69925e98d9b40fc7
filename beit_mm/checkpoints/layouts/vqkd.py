"""VQ-KD, the tokenizer of BEiT v2: the original's and mmpretrain's names for a ``VQKDTokenizer``.

The original pools with ``fc_norm`` and mmpretrain calls it ``ln1``; it is ``norm`` here. The
counts that both keep of the codes are not needed, and the teacher is not a part of the tokenizer.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.names import INDEX, NOT_NEEDED
from beit_mm.checkpoints.layouts.openmmlab import ours

NAME = 'vqkd'
COUNTS = (
    'quantize.cluster_size',
    'quantize.embedding.cluster_size',
    'quantize.embedding.embed_avg',
)
SAME = ('encode_task_layer.', 'decode_task_layer.')


def matches(names: Collection[str]) -> bool:
    return 'quantize.embedding.weight' in names and 'encode_task_layer.0.weight' in names


def to_ours(state: Mapping[str, Tensor]) -> Conversion:
    conversion = Conversion(state)
    for name in state:
        part, _, rest = name.partition('.')
        if name.endswith(INDEX):
            conversion.drop(name, NOT_NEEDED)
        elif part in ('encoder', 'decoder') and rest.startswith(('fc_norm.', 'ln1.')):
            conversion.move(name, f'{part}.norm.{rest.split(".")[1]}')
        elif part in ('encoder', 'decoder'):
            conversion.move(name, f'{part}.{ours(rest)}')
        elif name.startswith(SAME):
            conversion.move(name, name)
        elif name == 'quantize.embedding.weight':
            conversion.move(name, 'codebook.weight')
        elif name == 'quantize.embedding.initted':
            conversion.move(name, 'codebook.initialized')
        elif name in COUNTS:
            conversion.drop(name, 'a count that nothing reads')
        else:
            conversion.drop(name, 'not a part of the tokenizer')
    if 'codebook.initialized' not in conversion.result:
        conversion.make('codebook.initialized', torch.tensor([True]), 'the codes are there')
    return conversion.finish()


def from_ours(state: Mapping[str, Tensor], task: str = 'tokenizer') -> Conversion:
    """For the original code."""
    conversion = Conversion(state)
    for name, tensor in state.items():
        part, _, rest = name.partition('.')
        if part in ('encoder', 'decoder') and rest.startswith('norm.'):
            conversion.move(name, f'{part}.fc_{rest}')
        elif part in ('encoder', 'decoder') or name.startswith(SAME):
            conversion.move(name, name)
        elif name == 'codebook.weight':
            conversion.move(name, 'quantize.embedding.weight')
            zeros = torch.zeros(len(tensor))
            for count in COUNTS[:2]:
                conversion.make(count, zeros, 'a count that nothing reads')
            conversion.make(COUNTS[2], tensor.clone(), 'a sum that nothing reads')
        elif name == 'codebook.initialized':
            conversion.join([name], 'quantize.embedding.initted', tensor.float())
        else:
            conversion.drop(name, 'not a part of the original')
    return conversion.finish()
