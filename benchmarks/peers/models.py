"""Models of transformers, timm, mmpretrain and mmseg, each beside ours."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn as nn

from beit_mm.models.heads import VisualTokenHead
from beit_mm.models.necks import MaskedPatchNeck, PatchMeanNeck
from benchmarks.peers.comparison import (
    BASE,
    CLASSES,
    SMALL,
    VOCAB,
    Equal,
    Ours,
    Pair,
    Size,
    compare,
    encoder,
)
from benchmarks.peers.names import from_hf, from_openmmlab, from_timm

MAPS = 'Feature maps of four layers'
LOGITS = 'Logits of the classes, a bias in each layer'


def build_hf(name: str, size: Size, **options) -> nn.Module:
    """Return a model class of transformers without memory, with random options of ``size``."""
    import transformers

    config = transformers.BeitConfig(
        vocab_size=VOCAB,
        num_labels=CLASSES,
        hidden_size=size.dims,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.dims,
        image_size=size.image,
        patch_size=size.patch,
        use_mean_pooling=True,  # one last norm, which is the neck's
        layer_norm_eps=1e-6,
        **{'use_mask_token': False, 'layer_scale_init_value': 0.1, **options},
    )
    with torch.device('cpu' if options.get('add_fpn') else 'meta'):
        return getattr(transformers, name)(config)


def classifier(size: Size, **options) -> Ours:
    backbone = encoder(size, rel_pos='per_layer', **options)
    return Ours(backbone, PatchMeanNeck(size.dims), nn.Linear(size.dims, CLASSES))


def feature_maps(size: Size, neck: nn.Module | None = None) -> Ours:
    maps = dict(rel_pos='per_layer', out_type='featmap', out_indices=size.indices)
    return Ours(encoder(size, **maps), neck)


def compare_hf_masked(size: Size, what: str, options: dict, ours: dict) -> Equal:
    """Compare the logits of the masked patches.

    Args:
        options: Of transformers' configuration.
        ours: Arguments of BEiTEncoder.
    """
    parts = encoder(size, **ours), MaskedPatchNeck(size.dims), VisualTokenHead(VOCAB, size.dims)
    name = 'BeitForMaskedImageModeling'
    pair = Pair(
        f'Logits of the masked patches, {what}',
        f'transformers {name}',
        Ours(*parts),
        build_hf(name, size, use_mask_token=True, **options),
        from_hf,
        lambda m, x, mask: (m(x, bool_masked_pos=mask.flatten(1)).logits[mask.flatten(1)],),
        is_masked=True,
    )
    return compare(size, pair)


def compare_hf_shared(size: Size) -> Equal:
    options = dict(use_shared_relative_position_bias=True)
    return compare_hf_masked(size, 'shared bias', options, {})


def compare_hf_of_the_paper(size: Size) -> Equal:
    options = dict(use_absolute_position_embeddings=True, layer_scale_init_value=0.0)
    ours = dict(rel_pos=None, abs_pos=True, layer_scale_init=None)
    return compare_hf_masked(size, 'absolute positions, no LayerScale', options, ours)


def compare_hf_classifier(size: Size) -> Equal:
    name = 'BeitForImageClassification'
    theirs = build_hf(name, size, use_relative_position_bias=True)
    models = classifier(size), theirs
    pair = Pair(LOGITS, f'transformers {name}', *models, from_hf, lambda m, x, _: (m(x).logits,))
    return compare(size, pair)


def compare_hf_maps(size: Size, pyramid: bool = False) -> Equal:
    """Compare the backbone; with ``pyramid`` what the segmentation heads are given."""
    what, reference, neck, options = MAPS, 'transformers BeitBackbone', None, {}
    if pyramid:
        from mmseg.models.necks import Feature2Pyramid

        what = 'Pyramid of four layers, with the neck of mmseg'
        reference = f'{reference}, add_fpn=True'
        neck = Feature2Pyramid(size.dims, norm_cfg=dict(type='BN'))
        options = dict(add_fpn=True)
    theirs = build_hf(
        'BeitBackbone',
        size,
        use_relative_position_bias=True,
        out_features=[f'stage{index + 1}' for index in size.indices],
        **options,
    )
    models = feature_maps(size, neck), theirs
    return compare(size, Pair(what, reference, *models, from_hf, lambda m, x, _: m(x).feature_maps))


def compare_timm(size: Size, model: str = 'Beit') -> Equal:
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
    models = classifier(size), theirs
    return compare(size, Pair(LOGITS, f'timm {model}', *models, from_timm, lambda m, x, _: (m(x),)))


def compare_mmpretrain(size: Size) -> Equal:
    from mmpretrain.models import BEiTViT

    theirs = BEiTViT(
        arch=dict(size.arch, feedforward_channels=4 * size.dims),
        img_size=size.image,
        patch_size=size.patch,
        out_indices=list(size.indices),
        out_type='featmap',
        final_norm=False,
        layer_scale_init_value=0.1,
    )
    return compare_openmmlab(size, 'mmpretrain BEiTViT', theirs)


def compare_mmseg(size: Size) -> Equal:
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
    return compare_openmmlab(size, 'mmseg BEiT', theirs)


def compare_openmmlab(size: Size, reference: str, theirs: nn.Module) -> Equal:
    models = feature_maps(size), theirs
    return compare(size, Pair(MAPS, reference, *models, from_openmmlab, lambda m, x, _: m(x)))


EQUAL: dict[str, Callable[[], Equal]] = {
    'hf_mim_small': partial(compare_hf_shared, SMALL),
    'hf_mim_base': partial(compare_hf_shared, BASE),
    'hf_mim_paper_small': partial(compare_hf_of_the_paper, SMALL),
    'hf_cls_small': partial(compare_hf_classifier, SMALL),
    'hf_cls_base': partial(compare_hf_classifier, BASE),
    'hf_maps_small': partial(compare_hf_maps, SMALL),
    'hf_maps_base': partial(compare_hf_maps, BASE),
    'hf_pyramid_small': partial(compare_hf_maps, SMALL, pyramid=True),
    'timm_small': partial(compare_timm, SMALL),
    'timm_beit_base': partial(compare_timm, BASE, 'beit_base_patch16_224'),
    'timm_beitv2_base': partial(compare_timm, BASE, 'beitv2_base_patch16_224'),
    'mmpretrain_maps_small': partial(compare_mmpretrain, SMALL),
    'mmseg_maps_small': partial(compare_mmseg, SMALL),
}
