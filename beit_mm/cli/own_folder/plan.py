import math
from dataclasses import dataclass

import torch

from beit_mm.cli.own_folder.survey import Survey
from beit_mm.cli.own_folder.weights import FrozenTokenizer, architecture_of, tokenizer_of
from beit_mm.contracts import UserError

TOKENS_PER_CODE = 300  # docs/tokenizer_comparison.md, How large a vocabulary
VOCABULARIES = (64, 8192)


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
        tokenizer: One that is trained already; None trains one on the images.
    """

    family: str
    size: int
    vocab_size: int
    batch: int
    backbone: dict
    init: str | None = None
    init_prefix: str = 'backbone.'
    tokenizer: FrozenTokenizer | None = None

    @property
    def patch(self) -> int:
        return dict(micro=8, small=16)[self.family]

    @property
    def grid(self) -> int:
        return self.size // self.patch

    @property
    def token_size(self) -> int:
        return self.grid * (self.tokenizer.stride if self.tokenizer else 8)  # as shipped

    def table(self) -> list[tuple[str, str]]:
        encoder = f'BEiT-{self.family}/{self.patch}'
        if self.init:
            arch = '{num_layers} layers of {embed_dims} channels'.format(**self.backbone['arch'])
            encoder = f'BEiT/{self.patch} with {arch}, as in {self.init}'
        tokens = f' of {self.tokenizer.path}' if self.tokenizer else ''
        return [
            ('input', f'{self.size} x {self.size} pixels, {self.grid} x {self.grid} patches'),
            ('encoder', encoder),
            ('vocabulary', f'{self.vocab_size} tokens{tokens}'),
            ('batch', str(self.batch)),
        ]


def choose(
    survey: Survey, size: int | None = None, init: str | None = None, tokenizer: str | None = None
) -> Plan:
    """Return what fits the images, and the hardware.

    The size is at most that of half of the images, 64 pixels on a CPU and 224 on a GPU.

    Raises:
        UserError: ``size`` is no multiple of the patch size, or weights do not fit it.
    """
    sides = sorted(min(shape) for shape in survey.sizes)
    backbone, prefix, patch = architecture_of(init) if init else ({}, 'backbone.', None)
    if size is None:
        most = 224 if torch.cuda.is_available() or patch == 16 else 64
        size = max(min(sides[len(sides) // 2], most) // 16 * 16, 64 if patch == 16 else 32)
    family = {8: 'micro', 16: 'small', None: 'small' if size > 96 else 'micro'}[patch]
    batch = min(64 if torch.cuda.is_available() else 32, max(len(survey.paths) // 2, 1))
    plan = Plan(family, size, 0, batch, backbone, init, prefix)
    if size % plan.patch or size < 4 * plan.patch:
        near = max(size // plan.patch, 4) * plan.patch
        raise UserError(
            f'--size {size}: expected a multiple of {plan.patch}, the patches of this encoder, '
            f'and at least {4 * plan.patch}; take {near} or {near + plan.patch}'
        )
    if tokenizer is not None:
        plan.tokenizer = tokenizer_of(tokenizer, survey.loaded_channels)
        plan.vocab_size = plan.tokenizer.vocab_size
        return plan
    rule = max(len(survey.paths) * plan.grid**2 / TOKENS_PER_CODE, 1)
    plan.vocab_size = min(max(2 ** int(math.log2(rule)), VOCABULARIES[0]), VOCABULARIES[1])
    return plan
