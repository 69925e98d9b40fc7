import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from beit_mm.apis.foreign_folder import read_json
from beit_mm.checkpoints import read_checkpoint, unwrap
from beit_mm.checkpoints.loaders import in_our_layout
from beit_mm.cli.own_folder.survey import Survey
from beit_mm.contracts import UserError

TOKENS_PER_CODE = 300  # docs/tokenizer_comparison.md, How large a vocabulary
VOCABULARIES = (64, 8192)
MASKED, LEAST_BLOCK = 0.4, 16 / 196  # of the patches: BEiT, sections 2.3 and 3.1


@dataclass
class Plan:
    """What a chain trains.

    Attributes:
        family: 'micro' (patches of 8 pixels) or 'small' (of 16); each has shipped configs.
        size: Pixels of a side of the encoder's input.
        token_size: Of the tokenizer's input.
        vocab_size: Of the tokenizer.
        batch: Images in a step.
        backbone: Arguments of the encoder that differ from the family's.
        init: Weights that the encoder begins with.
        init_prefix: Of their names; '' for a file of an encoder alone.
    """

    family: str
    size: int
    vocab_size: int
    batch: int
    backbone: dict
    init: str | None = None
    init_prefix: str = 'backbone.'

    @property
    def patch(self) -> int:
        return dict(micro=8, small=16)[self.family]

    @property
    def grid(self) -> int:
        return self.size // self.patch

    @property
    def token_size(self) -> int:
        return self.grid * 8  # the stride of the shipped tokenizers

    @property
    def masks(self) -> dict:
        """Return the arguments of BlockwiseMask."""
        patches = self.grid**2
        return dict(
            grid=self.grid,
            num_masked=max(round(MASKED * patches), 1),
            min_block=max(round(LEAST_BLOCK * patches), 1),
        )

    def table(self) -> list[tuple[str, str]]:
        origin = f' from {self.init}' if self.init else ''
        return [
            ('input', f'{self.size} x {self.size} pixels, {self.grid} x {self.grid} patches'),
            ('encoder', f'BEiT-{self.family}/{self.patch}{origin}'),
            ('vocabulary', f'{self.vocab_size} tokens'),
            ('batch', str(self.batch)),
        ]


def choose(survey: Survey, size: int | None = None, init: str | None = None) -> Plan:
    """Return what fits the images, and the hardware.

    The size is at most that of half of the images, 64 pixels on a CPU and 224 on a GPU.

    Raises:
        UserError: ``size`` is no multiple of the patch size, or weights do not fit it.
    """
    sides = sorted(min(shape) for shape in survey.sizes)
    if size is None:
        most = 224 if torch.cuda.is_available() or init else 64
        size = max(min(sides[len(sides) // 2], most) // 16 * 16, 64 if init else 32)
    family = 'small' if init or size > 96 else 'micro'
    plan = Plan(family, size, 0, 64 if torch.cuda.is_available() else 32, {}, init)
    if size % plan.patch or size < 4 * plan.patch:
        near = max(size // plan.patch, 4) * plan.patch
        raise UserError(
            f'--size {size}: expected a multiple of {plan.patch}, the patches of this encoder, '
            f'and at least {4 * plan.patch}; take {near} or {near + plan.patch}'
        )
    if init is not None:
        plan.backbone, plan.init_prefix = architecture_of(init, plan.patch)
    rule = max(len(survey.paths) * plan.grid**2 / TOKENS_PER_CODE, 1)
    plan.vocab_size = min(max(2 ** int(math.log2(rule)), VOCABULARIES[0]), VOCABULARIES[1])
    return plan


def architecture_of(path: str, patch: int) -> tuple[dict, str]:
    """Return the arguments of the encoder in a file of any known layout, and its prefix there."""
    weights = unwrap(in_our_layout(read_checkpoint(path), path))[0]
    prefix = 'backbone.' if any(name.startswith('backbone.') for name in weights) else ''
    kernel = weights.get(f'{prefix}patch_embed.proj.weight')
    if kernel is None:
        raise UserError(f'--init {path}: it has no encoder of a layout that is known')
    if kernel.shape[-1] != patch:
        raise UserError(
            f'--init {path}: its patches have {kernel.shape[-1]} pixels, expected {patch}'
        )
    names = [name for name in weights if name.startswith(f'{prefix}blocks.')]
    layers = len({name.removeprefix(f'{prefix}blocks.').split('.')[0] for name in names})
    dims = kernel.shape[0]
    found = dict(
        arch=dict(embed_dims=dims, num_layers=layers, num_heads=find_heads(weights, path, dims)),
        abs_pos=f'{prefix}pos_embed' in weights,
        layer_scale_init=0.1 if any(name.endswith('gamma_1') for name in names) else None,
    )
    if any(name.endswith('attn.relative_position_bias_table') for name in names):
        found['rel_pos'] = 'per_layer'
    elif f'{prefix}rel_pos_bias.relative_position_bias_table' not in weights:
        found['rel_pos'] = None
    return found, prefix


def find_heads(weights: Mapping, path: str, dims: int) -> int:
    """Return the attention heads: of a table of positions, of a config.json, else 64 dims each."""
    for name, tensor in weights.items():
        if name.endswith('relative_position_bias_table'):
            return tensor.shape[1]
    place = Path(path).expanduser()
    file = (place if place.is_dir() else place.parent) / 'config.json'
    return (read_json(file) or {}).get('num_attention_heads') or max(dims // 64, 1)
