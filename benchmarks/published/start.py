"""Weights and loss at the start of a training, and numbers of parameters."""

import math
from collections.abc import Iterator

import torch

from beit_mm.models.backbones import BEiTEncoder
from beit_mm.models.heads import VisualTokenHead
from beit_mm.models.necks import MaskedPatchNeck
from beit_mm.models.tokenizers import DALLETokenizer
from benchmarks.published.row import Published, compare_number, compare_rule


def compare_init() -> Iterator[Published]:
    torch.manual_seed(0)
    arch = dict(embed_dims=128, num_layers=12, num_heads=4)
    model = BEiTEncoder(arch=arch, img_size=64, abs_pos=True)
    plain = torch.cat([b.mlp.fc1.weight.flatten() for b in model.blocks]).detach()
    deep = torch.cat(
        [
            w.detach().flatten() * math.sqrt(2 * layer)
            for layer, b in enumerate(model.blocks, start=1)
            for w in (b.attn.proj.weight, b.mlp.fc2.weight)
        ]
    )
    patches = model.patch_embed['proj'].weight.detach()
    tables = model.rel_pos_bias.relative_position_bias_table
    for what, published, here, allowed in (
        ('Standard deviation of weights at the start', 0.0108, plain.std(), 1e-4),
        ('Standard deviation of the patch embedding', 0.0108, patches.std(), 1e-4),
        ('attn.proj and mlp.fc2 of layer l, times sqrt(2 l)', 0.0108, deep.std(), 1e-4),
        ('Largest weight at the start', 0.02, max(plain.abs().max(), patches.abs().max()), 1e-5),
        ('Relative position tables at the start', 0, tables.abs().max(), 0),
    ):
        source = 'unilm beit/modeling_pretrain.py'
        yield compare_number(what, source, published, float(here), allowed, form='.4f')


def compare_sizes() -> Iterator[Published]:
    with torch.device('meta'):
        parts = [BEiTEncoder('base'), MaskedPatchNeck(768), VisualTokenHead(8192, 768)]
        dalle = DALLETokenizer()
    number, published = sum(p.numel() for part in parts for p in part.parameters()), 91_965_776
    yield Published(
        'Parameters of BEiT-B in pre-training',
        'log of a training, unilm issue 383',
        f'{published:,}',
        f'{number:,}',
        abs(number - published),
        0,
    )
    yield compare_number(
        "Parameters of DALL-E's encoder, million",
        'openai/DALL-E dall_e/encoder.py',
        53.8,
        sum(p.numel() for p in dalle.encoder.parameters()) / 1e6,
        0.05,
        form='.1f',
    )
    torch.manual_seed(0)
    head = VisualTokenHead(8192, 64)
    with torch.no_grad():
        loss = head.loss(torch.randn(200, 64), torch.randint(8192, (200,)))['loss'].item()
    wanted = math.log(8192)
    yield compare_rule(
        'Loss at the start',
        'ln 8192',
        abs(loss - wanted),
        0.02,
        f'{wanted:.3f}',
        f'{loss:.3f}',
    )
