"""Compares the encoder and the recipe with other implementations and with published numbers.

    python benchmarks/parity.py --out docs/parity.md

It needs `pip install -r requirements/tests.txt`. Weights are random, nothing is downloaded.
"""

import argparse
import math
import random
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmengine.config import Config  # noqa: E402
from mmengine.optim import OptimWrapper  # noqa: E402
from mmengine.registry import PARAM_SCHEDULERS  # noqa: E402
from PIL import Image  # noqa: E402

import beit_mm  # noqa: E402, F401  (before mmpretrain)
from beit_mm.contracts.positions import resize_table, table_length  # noqa: E402
from beit_mm.datasets.transforms import BlockwiseMask, TwoViewResizedCrop  # noqa: E402
from beit_mm.engine.optim_wrappers import BEiTOptimWrapperConstructor  # noqa: E402
from beit_mm.models.backbones import BEiTEncoder  # noqa: E402
from beit_mm.models.heads import VisualTokenHead  # noqa: E402
from beit_mm.models.necks import MaskedPatchNeck, PatchMeanNeck  # noqa: E402
from beit_mm.models.tokenizers import DALLETokenizer  # noqa: E402

Named = dict[str, Tensor]
ALLOWED = 1e-5  # relative, in float32


class Size(NamedTuple):
    name: str
    dims: int
    layers: int
    heads: int
    image: int
    patch: int
    images: int
    indices: tuple[int, ...]

    @property
    def arch(self) -> dict:
        return dict(embed_dims=self.dims, num_layers=self.layers, num_heads=self.heads)


SMALL = Size('small', 64, 4, 4, 48, 8, 2, (0, 1, 2, 3))
BASE = Size('base', 768, 12, 12, 224, 16, 1, (3, 5, 7, 11))
CLASSES, VOCAB = 10, 64


class Equal(NamedTuple):
    """Our function and another one, with the same weights and inputs."""

    what: str
    reference: str
    size: str
    values: int
    outputs: float
    gradients: float


class Published(NamedTuple):
    """A number or a rule that was published, and what is here. ``error`` as ``allowed``."""

    what: str
    source: str
    published: str
    here: str
    error: float
    allowed: float


# ---- the same weights under other names ----


def renamed(tensors: Named, rules: list[tuple[str, str]]) -> Named:
    """Each rule in turn is applied to each name."""
    result = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        result[name] = tensor
    return result


def from_hf(tensors: Named) -> Named:
    """transformers' Beit -> ours."""
    rules = [
        (r'^beit\.pooler\.layernorm', 'neck.norm'),
        (r'^layernorm', 'neck.norm'),
        (r'^lm_head', 'head.proj'),
        (r'^classifier', 'head'),
        (r'^beit\.', 'backbone.'),
        (r'^fpn\.fpn1\.conv_transpose1', 'neck.upsample_4x.0'),
        (r'^fpn\.fpn1\.normalization', 'neck.upsample_4x.1'),
        (r'^fpn\.fpn1\.conv_transpose2', 'neck.upsample_4x.3'),
        (r'^fpn\.fpn2', 'neck.upsample_2x.0'),
        (r'embeddings\.position_embeddings', 'pos_embed'),
        (r'embeddings\.patch_embeddings\.projection', 'patch_embed.proj'),
        (r'embeddings\.', ''),
        (r'shared_position_bias', 'rel_pos_bias'),
        (r'\.layers\.', '.blocks.'),
        (r'(blocks\.\d+)\.relative_position_bias\.', r'\1.attn.'),
        (r'attention\.o_proj', 'attn.proj'),
        (r'attention\.(.)_proj', r'attn.\1'),
        (r'layernorm_before', 'norm1'),
        (r'layernorm_after', 'norm2'),
        (r'lambda_', 'gamma_'),
    ]
    result = renamed(tensors, rules)
    for name in [name for name in result if name.endswith('.attn.q.weight')]:
        prefix = name[: -len('q.weight')]
        parts = [result.pop(f'{prefix}{part}.weight') for part in 'qkv']
        result[f'{prefix}qkv.weight'] = torch.cat(parts)
        result[f'{prefix}q_bias'] = result.pop(f'{prefix}q.bias')
        result[f'{prefix}v_bias'] = result.pop(f'{prefix}v.bias')
    return result


def from_timm(tensors: Named) -> Named:
    """timm's Beit -> ours."""
    return renamed(tensors, [(r'^fc_norm', 'neck.norm'), (r'^(?!neck|head)', 'backbone.')])


def from_openmmlab(tensors: Named) -> Named:
    """mmpretrain's BEiTViT and mmseg's BEiT -> ours."""
    rules = [
        (r'^', 'backbone.'),
        (r'patch_embed\.projection', 'patch_embed.proj'),
        (r'\.layers\.(\d+)\.ln', r'.blocks.\1.norm'),
        (r'\.layers\.(\d+)\.ffn\.layers\.0\.0', r'.blocks.\1.mlp.fc1'),
        (r'\.layers\.(\d+)\.ffn\.layers\.1', r'.blocks.\1.mlp.fc2'),
        (r'backbone\.layers\.', 'backbone.blocks.'),
    ]
    return renamed(tensors, rules)


# ---- equal functions ----


class Ours(nn.Module):
    """Backbone, neck and head, as the algorithms of the configs put them together."""

    def __init__(self, backbone: nn.Module, neck: nn.Module | None = None, head=None):
        super().__init__()
        self.backbone, self.neck, self.head = backbone, neck, head

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        outputs = self.backbone(x, mask)
        if isinstance(self.neck, MaskedPatchNeck):
            return (self.head.predict(self.neck(outputs, mask)),)
        if self.head is None and self.neck is not None:
            return self.neck(outputs)
        if self.neck is not None:
            return (self.head(*self.neck(outputs)),)
        return outputs


def encoder(size: Size, **kwargs) -> BEiTEncoder:
    settings = dict(arch=size.arch, img_size=size.image, patch_size=size.patch)
    with torch.device('meta'):
        return BEiTEncoder(**(settings | kwargs))


def randomise(module: nn.Module) -> nn.Module:
    """Every parameter random and of a size that matters, so that none can be left out."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1 and not name.endswith('table') and 'token' not in name:
                std = parameter[0].numel() ** -0.5
            else:
                std = 0.3
            parameter.normal_(std=std, generator=generator)
            if parameter.ndim == 1 and name.endswith('norm.weight'):
                parameter += 1
    module.eval()  # which returns nothing in mmpretrain
    return module


def allocated(module: nn.Module) -> nn.Module:
    """The parts that were built on the meta device, to save the time of their init, get memory."""
    for part in module.children():
        if any(parameter.is_meta for parameter in part.parameters()):
            part.to_empty(device='cpu')
            with torch.no_grad():  # what no weight is loaded into may hold NaN
                for parameter in part.parameters():
                    parameter.zero_()
    return module


def largest_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference as a part of the largest value."""
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    if not math.isfinite(error):
        raise ValueError('Nothing to compare: all values are 0, or some are not finite')
    return error


def compare(
    what: str,
    reference: str,
    size: Size,
    ours: Ours,
    theirs: nn.Module,
    names: Callable[[Named], Named],
    run: Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, ...]],
    masked: bool = False,
) -> Equal:
    """Loads their random weights, and compares outputs and the gradients of all weights."""
    ours, theirs = allocated(ours).eval(), randomise(allocated(theirs))
    weights = names(dict(theirs.named_parameters()))
    report = ours.load_state_dict({k: v.detach() for k, v in weights.items()}, strict=False)
    parameters = {name for name, _ in ours.named_parameters() if not name.endswith('mask_token')}
    left_out = sorted(parameters.intersection(report.missing_keys))
    if left_out or report.unexpected_keys:
        raise ValueError(f'{what}: missing {left_out}, unexpected {report.unexpected_keys}')
    generator = torch.Generator().manual_seed(1)
    side = size.image // size.patch
    x = torch.randn(size.images, 3, size.image, size.image, generator=generator)
    mask = torch.rand(size.images, side, side, generator=generator) < 0.4
    found = ours(x, mask if masked else None)
    wanted = run(theirs, x, mask)
    error, gradient_error = 0.0, 0.0
    cotangents = [torch.randn(out.shape, generator=generator) for out in wanted]
    for outputs in (found, wanted):
        pairs = zip(outputs, cotangents, strict=True)
        sum((out * cotangent).sum() for out, cotangent in pairs).backward()
    for a, b in zip(found, wanted, strict=True):
        error = max(error, largest_error(a, b))
    gradients = {k: p.grad for k, p in theirs.named_parameters() if p.grad is not None}
    ours_gradients = {k: p.grad for k, p in ours.named_parameters() if p.grad is not None}
    for name, gradient in names(gradients).items():
        gradient_error = max(gradient_error, largest_error(ours_gradients[name], gradient))
    values = sum(out.numel() for out in wanted)
    return Equal(what, reference, size.name, values, error, gradient_error)


def hf_config(size: Size, **kwargs):
    from transformers import BeitConfig

    return BeitConfig(
        vocab_size=VOCAB,
        num_labels=CLASSES,
        hidden_size=size.dims,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.dims,
        image_size=size.image,
        patch_size=size.patch,
        use_mask_token=kwargs.pop('use_mask_token', False),
        use_mean_pooling=True,  # one last norm, which is the neck's
        layer_norm_eps=1e-6,
        **kwargs,
    )


def on_meta(cls: type[nn.Module], config) -> nn.Module:
    with torch.device('meta'):
        return cls(config)


def masked_modeling(size: Size) -> Equal:
    from transformers import BeitForMaskedImageModeling

    config = hf_config(
        size,
        use_mask_token=True,
        use_shared_relative_position_bias=True,
        layer_scale_init_value=0.1,
    )
    return compare(
        'Logits of the masked patches, shared bias',
        'transformers BeitForMaskedImageModeling',
        size,
        Ours(encoder(size), MaskedPatchNeck(size.dims), VisualTokenHead(VOCAB, size.dims)),
        on_meta(BeitForMaskedImageModeling, config),
        from_hf,
        lambda m, x, mask: (m(x, bool_masked_pos=mask.flatten(1)).logits[mask.flatten(1)],),
        masked=True,
    )


def masked_modeling_of_the_paper(size: Size) -> Equal:
    from transformers import BeitForMaskedImageModeling

    config = hf_config(
        size, use_mask_token=True, use_absolute_position_embeddings=True, layer_scale_init_value=0.0
    )
    return compare(
        'Logits of the masked patches, absolute positions, no LayerScale',
        'transformers BeitForMaskedImageModeling',
        size,
        Ours(
            encoder(size, rel_pos=None, abs_pos=True, layer_scale_init=None),
            MaskedPatchNeck(size.dims),
            VisualTokenHead(VOCAB, size.dims),
        ),
        on_meta(BeitForMaskedImageModeling, config),
        from_hf,
        lambda m, x, mask: (m(x, bool_masked_pos=mask.flatten(1)).logits[mask.flatten(1)],),
        masked=True,
    )


def classifier(size: Size) -> Ours:
    backbone = encoder(size, rel_pos='per_layer')
    return Ours(backbone, PatchMeanNeck(size.dims), nn.Linear(size.dims, CLASSES))


def hf_classification(size: Size) -> Equal:
    from transformers import BeitForImageClassification

    config = hf_config(size, use_relative_position_bias=True, layer_scale_init_value=0.1)
    return compare(
        'Logits of the classes, a bias in each layer',
        'transformers BeitForImageClassification',
        size,
        classifier(size),
        on_meta(BeitForImageClassification, config),
        from_hf,
        lambda m, x, _: (m(x).logits,),
    )


def hf_feature_maps(size: Size) -> Equal:
    from transformers import BeitBackbone

    config = hf_config(
        size,
        use_relative_position_bias=True,
        layer_scale_init_value=0.1,
        out_features=[f'stage{index + 1}' for index in size.indices],
    )
    return compare(
        'Feature maps of four layers',
        'transformers BeitBackbone',
        size,
        Ours(encoder(size, rel_pos='per_layer', out_type='featmap', out_indices=size.indices)),
        on_meta(BeitBackbone, config),
        from_hf,
        lambda m, x, _: m(x).feature_maps,
    )


def hf_pyramid(size: Size) -> Equal:
    """What the segmentation heads are given."""
    from mmseg.models.necks import Feature2Pyramid
    from transformers import BeitBackbone

    config = hf_config(
        size,
        use_relative_position_bias=True,
        layer_scale_init_value=0.1,
        out_features=[f'stage{index + 1}' for index in size.indices],
        add_fpn=True,
    )
    backbone = encoder(size, rel_pos='per_layer', out_type='featmap', out_indices=size.indices)
    return compare(
        'Pyramid of four layers, with the neck of mmseg',
        'transformers BeitBackbone, add_fpn=True',
        size,
        Ours(backbone, Feature2Pyramid(size.dims, norm_cfg=dict(type='BN'))),
        BeitBackbone(config),
        from_hf,
        lambda m, x, _: m(x).feature_maps,
    )


def timm_classification(size: Size, model: str = 'Beit') -> Equal:
    import timm
    from timm.models.beit import Beit

    if size is BASE:
        theirs = timm.create_model(model, pretrained=False, num_classes=CLASSES)
    else:
        theirs = Beit(
            img_size=size.image,
            patch_size=size.patch,
            num_classes=CLASSES,
            embed_dim=size.dims,
            depth=size.layers,
            num_heads=size.heads,
            init_values=0.1,
            use_rel_pos_bias=True,
            use_abs_pos_emb=False,
        )
    return compare(
        'Logits of the classes, a bias in each layer',
        f'timm {model}',
        size,
        classifier(size),
        theirs,
        from_timm,
        lambda m, x, _: (m(x),),
    )


def mmpretrain_feature_maps(size: Size) -> Equal:
    from mmpretrain.models import BEiTViT

    arch = dict(size.arch, feedforward_channels=4 * size.dims)
    theirs = BEiTViT(
        arch=arch,
        img_size=size.image,
        patch_size=size.patch,
        out_indices=list(size.indices),
        out_type='featmap',
        final_norm=False,
        layer_scale_init_value=0.1,
    )
    return compare(
        'Feature maps of four layers',
        'mmpretrain BEiTViT',
        size,
        Ours(encoder(size, rel_pos='per_layer', out_type='featmap', out_indices=size.indices)),
        theirs,
        from_openmmlab,
        lambda m, x, _: m(x),
    )


def mmseg_feature_maps(size: Size) -> Equal:
    from mmseg.models.backbones import BEiT

    theirs = BEiT(
        img_size=size.image,
        patch_size=size.patch,
        embed_dims=size.dims,
        num_layers=size.layers,
        num_heads=size.heads,
        out_indices=list(size.indices),
        init_values=0.1,
        norm_cfg=dict(type='LN', eps=1e-6),  # as its configs say, the class has 1e-5
    )
    return compare(
        'Feature maps of four layers',
        'mmseg BEiT',
        size,
        Ours(encoder(size, rel_pos='per_layer', out_type='featmap', out_indices=size.indices)),
        theirs,
        from_openmmlab,
        lambda m, x, _: m(x),
    )


EQUAL: dict[str, Callable[[], Equal]] = {
    'hf_mim_small': lambda: masked_modeling(SMALL),
    'hf_mim_base': lambda: masked_modeling(BASE),
    'hf_mim_paper_small': lambda: masked_modeling_of_the_paper(SMALL),
    'hf_cls_small': lambda: hf_classification(SMALL),
    'hf_cls_base': lambda: hf_classification(BASE),
    'hf_maps_small': lambda: hf_feature_maps(SMALL),
    'hf_maps_base': lambda: hf_feature_maps(BASE),
    'hf_pyramid_small': lambda: hf_pyramid(SMALL),
    'timm_small': lambda: timm_classification(SMALL),
    'timm_beit_base': lambda: timm_classification(BASE, 'beit_base_patch16_224'),
    'timm_beitv2_base': lambda: timm_classification(BASE, 'beitv2_base_patch16_224'),
    'mmpretrain_maps_small': lambda: mmpretrain_feature_maps(SMALL),
    'mmseg_maps_small': lambda: mmseg_feature_maps(SMALL),
}


# ---- published numbers and rules ----


def drawn(number: int, **kwargs) -> np.ndarray:
    random.seed(0)
    transform = BlockwiseMask(14, num_masked=75, **kwargs)
    return np.stack([transform({})['mask'] for _ in range(number)])


def published_mask(rng: np.random.Generator) -> np.ndarray:
    """The algorithm of unilm beit/masking_generator.py, from its description."""
    mask, count = np.zeros((14, 14), int), 0
    while count < 75:
        most, placed = 75 - count, 0
        for _ in range(10):
            area = rng.uniform(min(16, most), max(16, most))
            aspect = math.exp(rng.uniform(math.log(0.3), -math.log(0.3)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h >= 14 or w >= 14:
                continue
            y, x = rng.integers(0, 14 - h, endpoint=True), rng.integers(0, 14 - w, endpoint=True)
            block = mask[y : y + h, x : x + w]
            placed = h * w - block.sum()
            if 0 < placed <= most:
                block[:] = 1
                break
            placed = 0
        if not placed:
            break
        count += placed
    return mask.astype(bool)


def masks() -> Iterator[Published]:
    source = 'unilm beit/masking_generator.py, 4000 masks'
    ours = drawn(4000)
    counts, where = ours.sum((1, 2)), ours.mean(0)
    for what, published, here, allowed in (
        ('Masked patches of 196, mean', 74.49, counts.mean(), 0.15),
        ('Masks with exactly 75, part', 0.675, (counts == 75).mean(), 0.03),
        ('Masks with more than 75', 0, (counts > 75).sum(), 0),
        ('Masked part of the first row', 0.135, where[0].mean(), 0.015),
        ('Masked part of the last row', 0.135, where[-1].mean(), 0.015),
        ('Masked part of the first column', 0.135, where[:, 0].mean(), 0.015),
        ('Masked part of the last column', 0.135, where[:, -1].mean(), 0.015),
        ('Masked part of the center', 0.72, where[6:8, 6:8].mean(), 0.03),
    ):
        yield Published(
            what, source, f'{published:g}', f'{here:.4g}', abs(here - published), allowed
        )
    rng = np.random.default_rng(0)
    theirs = np.stack([published_mask(rng) for _ in range(4000)])
    # Two means of 4000 Bernoulli draws: 4.5 sigma of their difference, for the worst of 196.
    yield Published(
        'Masked part of each patch, largest difference',
        'the same algorithm written a second time, 4000 masks',
        'equal',
        f'{np.abs(where - theirs.mean(0)).max():.3f}',
        np.abs(where - theirs.mean(0)).max(),
        4.5 * math.sqrt(2 * 0.25 / 4000),
    )
    exact = drawn(1000, mode='exactly').sum((1, 2))
    yield Published(
        "Masked patches with mode='exactly', all of 1000 masks",
        'unilm beit2/masking_generator.py',
        '75',
        f'{exact.min()} to {exact.max()}',
        np.abs(exact - 75).max(),
        0,
    )


def init() -> Iterator[Published]:
    source = 'unilm beit/modeling_pretrain.py'
    torch.manual_seed(0)
    model = BEiTEncoder(
        arch=dict(embed_dims=128, num_layers=12, num_heads=4), img_size=64, abs_pos=True
    )
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
        here = float(here)
        yield Published(
            what, source, f'{published:g}', f'{here:.4f}', abs(here - published), allowed
        )


def sizes() -> Iterator[Published]:
    with torch.device('meta'):
        parts = [BEiTEncoder('base'), MaskedPatchNeck(768), VisualTokenHead(8192, 768)]
        dalle = DALLETokenizer()
    here = sum(p.numel() for part in parts for p in part.parameters())
    yield Published(
        'Parameters of BEiT-B in pre-training',
        'log of a training, unilm issue 383',
        '91,965,776',
        f'{here:,}',
        abs(here - 91_965_776),
        0,
    )
    here = sum(p.numel() for p in dalle.encoder.parameters()) / 1e6
    yield Published(
        "Parameters of DALL-E's encoder, million",
        'openai/DALL-E dall_e/encoder.py',
        '53.8',
        f'{here:.1f}',
        abs(here - 53.8),
        0.05,
    )
    torch.manual_seed(0)
    head = VisualTokenHead(8192, 64)
    with torch.no_grad():
        here = head.loss(torch.randn(200, 64), torch.randint(8192, (200,)))['loss'].item()
    yield Published(
        'Loss at the start',
        'ln 8192',
        f'{math.log(8192):.3f}',
        f'{here:.3f}',
        abs(here - math.log(8192)),
        0.02,
    )


def published_positions(source: int, target: int) -> list[float]:
    """Offsets at the partial sums of a geometric series, its ratio found by bisection."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        if sum(q**i for i in range(source - 1)) > target - 1:
            high = q
        else:
            low = q
    side = [sum(q**i for i in range(n)) for n in range(1, source)]
    return [-d for d in reversed(side)] + [0.0] + side


def table_resize() -> Iterator[Published]:
    from scipy.interpolate import RectBivariateSpline

    for source, target in (((14, 14), (32, 32)), ((14, 14), (40, 40)), ((14, 10), (12, 24))):
        torch.manual_seed(0)
        table = torch.randn(table_length(source), 2)
        ours = resize_table(table, source, target)
        rows, columns = (published_positions(s, t) for s, t in zip(source, target, strict=True))
        # FITPACK's surface of interp2d(kind='cubic'), which clips to the range that it knows.
        at = [
            np.clip(np.arange(1 - t, t), known[0], known[-1])
            for known, t in zip((rows, columns), target, strict=True)
        ]
        error = 0.0
        for head in range(2):
            image = table[:-3, head].double().numpy().reshape(len(rows), len(columns))
            wanted = RectBivariateSpline(rows, columns, image, kx=3, ky=3, s=0)(*at)
            error = max(error, np.abs(ours[:-3, head].numpy() - wanted.ravel()).max())
        yield Published(
            f'Table of {source[0]} x {source[1]} patches for {target[0]} x {target[1]}',
            f'geometric offsets, SciPy {version("scipy")} RectBivariateSpline',
            'equal',
            f'{error:.1e}',
            max(error, (ours[-3:] - table[-3:]).abs().max().item()),
            1e-4,
        )


def second_view() -> Iterator[Published]:
    rng = np.random.default_rng(0)
    differing = 0
    for height, width in ((64, 48), (301, 402), (97, 500)):
        img = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        random.seed(height)
        made = TwoViewResizedCrop(224, token_size=112)(dict(img=img))
        top, left, h, w = made['crop']
        crop = Image.fromarray(img).crop((left, top, left + w, top + h))
        for key, side, method in (('img', 224, 'BICUBIC'), ('token_img', 112, 'LANCZOS')):
            wanted = np.asarray(crop.resize((side, side), Image.Resampling[method]))
            differing += int((made[key] != wanted).sum())
    yield Published(
        'Pixels of both views that differ',
        f'the same crop, resized by Pillow {version("pillow")}',
        '0',
        str(differing),
        differing,
        0,
    )


def dalle_pixels() -> Iterator[Published]:
    pixels = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    ours = DALLETokenizer(vocab_size=8, width=4, num_blocks=1)._mapped(pixels / 255)
    error = (ours - (pixels + 31.875) / 318.75).abs().max().item()
    yield Published(
        "Pixels 0 to 255 at DALL-E's input",
        'openai/DALL-E dall_e/utils.py, as (x + 31.875) / 318.75',
        'equal',
        f'{error:.1e}',
        error,
        1e-6,
    )


def published_scale(name: str, layers: int, decay: float) -> float:
    """unilm beit/optim_factory.py and run_class_finetuning.py."""
    if name in ('backbone.cls_token', 'backbone.mask_token', 'backbone.pos_embed'):
        place = 0
    elif name.startswith('backbone.patch_embed'):
        place = 0
    elif name.startswith('backbone.blocks.'):
        place = int(name.split('.')[2]) + 1
    else:
        place = layers + 1
    return decay ** (layers + 1 - place)


def layer_decay() -> Iterator[Published]:
    model = Ours(
        BEiTEncoder(arch=dict(embed_dims=8, num_layers=12, num_heads=2), img_size=32, abs_pos=True),
        PatchMeanNeck(8),
        nn.Linear(8, CLASSES),
    )
    for decay in (0.65, 0.85, 0.9):
        constructor = BEiTOptimWrapperConstructor(
            dict(optimizer=dict(type='AdamW', lr=1.0)), dict(layer_decay_rate=decay)
        )
        groups = constructor.param_groups(model, lr=1.0, weight_decay=0.05)
        lrs = {id(p): group['lr'] for group in groups for p in group['params']}
        error = max(
            abs(lrs[id(p)] - published_scale(name, 12, decay))
            for name, p in model.named_parameters()
        )
        yield Published(
            f'Learning rate of each of {len(lrs)} parameters, layer decay {decay}',
            'unilm beit/optim_factory.py',
            f'{decay}^(13 - i)',
            f'{error:.1e}',
            error,
            1e-12,
        )


def published_schedule(peak: float, final: float, warm_up: int, steps: int) -> np.ndarray:
    """unilm beit/utils.py cosine_scheduler: linear from 0, then half a cosine."""
    ramp = np.linspace(0, peak, warm_up)
    part = np.arange(steps - warm_up) / (steps - warm_up)
    return np.concatenate([ramp, final + 0.5 * (peak - final) * (1 + np.cos(np.pi * part))])


def schedules() -> Iterator[Published]:
    for name, peak, final, warm_up, epochs in (
        ('beit-base_300e', 1.5e-3, 1e-5, 10, 300),
        ('beit-base_ft-100e', 4e-3, 1e-6, 20, 100),
    ):
        iters = 7  # of an epoch
        config = Config.fromfile(ROOT / f'configs/_base_/schedules/{name}.py')
        parameter = nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.AdamW([parameter], lr=config.optim_wrapper.optimizer.lr)
        wrapper = OptimWrapper(optimizer)
        schedulers = []
        for cfg in config.param_scheduler:
            cls = PARAM_SCHEDULERS.get(cfg.pop('type'))
            cfg.pop('convert_to_iter_based')
            schedulers.append(
                cls.build_iter_from_epoch(optimizer=wrapper, epoch_length=iters, **cfg)
            )
        found = []
        for _ in range(epochs * iters):
            found.append(optimizer.param_groups[0]['lr'])
            for scheduler in schedulers:
                scheduler.step()
        wanted = published_schedule(peak, final, warm_up * iters, epochs * iters)
        error = np.abs(np.array(found) - wanted).max() / peak
        yield Published(
            f'Learning rate of each iteration, {name}',
            'unilm beit/utils.py cosine_scheduler',
            'equal',
            f'{error:.1e} of the peak',
            error,
            2e-6,  # the first factor is 1e-6 and not 0
        )


PUBLISHED: dict[str, Callable[[], Iterator[Published]]] = dict(
    masks=masks,
    init=init,
    sizes=sizes,
    table_resize=table_resize,
    second_view=second_view,
    dalle_pixels=dalle_pixels,
    layer_decay=layer_decay,
    schedules=schedules,
)


# ---- the document ----


def document(equal: list[Equal], published: list[Published]) -> str:
    libraries = ['torch', 'transformers', 'timm', 'onedl-mmpretrain', 'onedl-mmsegmentation']
    versions = ', '.join(f'{name} {version(name)}' for name in libraries)
    lines = [
        '# Parity',
        '',
        'Written by `python benchmarks/parity.py --out docs/parity.md`; the same',
        'comparisons are tests in `tests/parity`. Do not edit it by hand.',
        '',
        '## The same function as other implementations',
        '',
        'Both models have the same random weights, moved by an explicit map of names, and the',
        'same inputs, in float32 and eval mode. An error is the largest difference as a part of',
        'the largest value of a tensor; the largest one over all outputs, and over the gradients',
        f'of all parameters, is shown. Up to {ALLOWED:.0e} is allowed.',
        '',
        f'Versions: {versions}.',
        '',
        '`small`: 4 layers of 64 channels, 36 patches, 2 images. `base`: BEiT-B/16, one image of',
        '224 pixels.',
        '',
        '| Compared | With | Size | Values | Outputs | Gradients |',
        '| --- | --- | --- | ---: | ---: | ---: |',
    ]
    lines += [
        f'| {row.what} | {row.reference} | {row.size} | {row.values:,} | {row.outputs:.1e} | '
        f'{row.gradients:.1e} |'
        for row in equal
    ]
    lines += [
        '',
        'What these rows do not cover: dropout and stochastic depth (tests of the layers), sizes',
        'other than the one that positions are made for (see [any_size.md](any_size.md)), and',
        'published weights, since none are downloaded here.',
        '',
        '## The recipe against what was published',
        '',
        'The third column is the published value or rule, the fourth what this package does; where',
        'a rule is compared value by value, it is the largest error.',
        '',
        '| Quantity | Source | Published | Here | Allowed error |',
        '| --- | --- | ---: | ---: | ---: |',
    ]
    lines += [
        f'| {row.what} | {row.source} | {row.published} | {row.here} | {row.allowed:.2g} |'
        for row in published
    ]
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', type=Path, help='Markdown file; without it, it is printed')
    args = parser.parse_args()
    torch.set_num_threads(1)
    equal = [row() for row in EQUAL.values()]
    published = [row for rows in PUBLISHED.values() for row in rows()]
    text = document(equal, published)
    if args.out is None:
        print(text)
    else:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding='utf-8')
    wrong = [row for row in equal if max(row.outputs, row.gradients) > ALLOWED]
    wrong += [row for row in published if row.error > row.allowed]
    if wrong:
        sys.exit('Not equal:\n' + '\n'.join(map(str, wrong)))


if __name__ == '__main__':
    main()
