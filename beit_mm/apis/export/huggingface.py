"""A folder that transformers loads: config.json, preprocessor_config.json, model.safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from beit_mm.apis.export.fits import check_classifier
from beit_mm.apis.export.huggingface_proof import prove
from beit_mm.apis.export.images import Resizing
from beit_mm.apis.export.sizes import Sizes
from beit_mm.apis.export.subject import Subject, check_encoder, predicts_tokens
from beit_mm.checkpoints import LAYOUTS, write_weights
from beit_mm.contracts import UserError
from beit_mm.contracts.packages import need
from beit_mm.contracts.positions import TABLE

__all__ = ['NOT_SQUARE', 'adapt', 'make_config', 'prove', 'write']

TASKS = dict(
    pretraining='ForMaskedImageModeling',
    classification='ForImageClassification',
    segmentation='ForSemanticSegmentation',
    backbone='Model',
)
RESAMPLE = dict(nearest=0, lanczos=1, bilinear=2, bicubic=3, box=4, hamming=5)  # of Pillow
LAYER = 'beit.encoder.layer.{}.'
NOT_SQUARE = (
    'transformers takes the width of a table of relative positions for its height, so its models '
    'compute something else on images that are not square'
)
# ours -> the names on the hub, which are mmseg's but for the pyramid and the last layer
SEGMENTOR = {
    'neck.upsample_4x.': 'fpn1.',
    'neck.upsample_2x.': 'fpn2.',
    'decode_head.conv_seg.': 'decode_head.classifier.',
    'decode_head.': 'decode_head.',
}


def adapt(subject: Subject) -> Subject:
    """Return the model that transformers can have, or raise a UserError that says what it lacks."""
    encoder = check_encoder(subject, 'transformers')
    positions = encoder.rel_pos or encoder.pos_embed is not None
    if positions and encoder.grid[0] != encoder.grid[1]:
        raise UserError(f'{NOT_SQUARE}; export with --to timm or --to onnx')
    if subject.task == 'pretraining' and not predicts_tokens(subject.module):
        subject = subject.as_backbone()
        subject.notes.append(
            'The encoder alone: transformers has a head for token ids, not for what this one '
            'predicts.'
        )
    if subject.task == 'pretraining':
        subject.notes.append(
            'AutoModelForMaskedImageModeling knows no BEiT; load BeitForMaskedImageModeling.'
        )
    if subject.task == 'classification':
        check_classifier(subject, 'transformers')
    if subject.task == 'segmentation':
        check_segmentor(subject)
    elif encoder.norm is None:
        subject.notes.append(
            'What beit_mm embeds is the mean of last_hidden_state[:, 1:]; pooler_output has a norm '
            'after it.'
        )
    return subject.in_rgb()


def check_segmentor(subject: Subject) -> None:
    """Raise a UserError unless the decoder is the UPerNet that transformers has."""
    model, encoder = subject.module, subject.encoder
    dims = encoder.embed_dims
    parts = dict(neck=type(model.neck).__name__ if model.with_neck else None)
    parts['decode_head'] = type(model.decode_head).__name__
    fits = parts == dict(neck='Feature2Pyramid', decode_head='UPerHead')
    if fits:
        head = model.decode_head
        parts |= dict(channels=head.channels, out_channels=head.out_channels)
        fits = list(model.neck.rescales) == [4, 2, 1, 0.5] and list(head.in_index) == [0, 1, 2, 3]
        fits = fits and head.channels == dims and head.out_channels == head.num_classes
        fits = fits and not head.align_corners and encoder.norm is None
    if not fits:
        raise UserError(
            f'transformers segments with UPerHead (channels={dims}, as the encoder) on the '
            f'Feature2Pyramid of four layers, but this model has {parts}; export it with --to '
            'onnx, or its encoder with --backbone'
        )


def write(subject: Subject, folder: Path) -> None:
    transformers = need('transformers', 'An export for transformers')
    need('safetensors', 'An export for transformers')
    weights, settings = convert(subject)
    if subject.is_half:
        weights = {name: tensor.half() for name, tensor in weights.items()}
    config = transformers.BeitConfig(**settings)
    config.architectures = [f'Beit{TASKS[subject.task]}']
    config.dtype = torch.float16 if subject.is_half else torch.float32
    config.save_pretrained(folder)
    write_weights(weights, folder / 'model.safetensors')
    text = json.dumps(make_processor(subject), indent=2)
    (folder / 'preprocessor_config.json').write_text(f'{text}\n')


def convert(subject: Subject) -> tuple[dict[str, Tensor], dict]:
    """Return the named tensors, and the arguments of their BeitConfig."""
    state, sizes, encoder = subject.state, subject.sizes, subject.encoder
    task = 'pretrain' if subject.task == 'pretraining' else subject.task
    layout = LAYOUTS['huggingface'].from_ours(state, task, sizes.grid)
    weights = layout.result
    if not sizes.qkv_bias:  # theirs always have one
        for layer in range(sizes.layers):
            for part in ('query', 'value'):
                name = f'{LAYER.format(layer)}attention.attention.{part}.bias'
                weights[name] = torch.zeros(sizes.dims)
    settings = make_config(sizes, weights) | dict(layer_norm_eps=encoder.blocks[0].norm1.eps)
    if subject.task in ('pretraining', 'backbone') and settings['use_mean_pooling']:
        pooler = 'beit.pooler.layernorm.'  # as AutoModel has it
        weights[f'{pooler}weight'] = state.get('neck.norm.weight', torch.ones(sizes.dims))
        weights[f'{pooler}bias'] = state.get('neck.norm.bias', torch.zeros(sizes.dims))
    if subject.task == 'segmentation':
        settings |= add_segmentor(subject, weights)
    if subject.task in ('classification', 'segmentation'):
        names = subject.classes or [f'LABEL_{i}' for i in range(settings['num_labels'])]
        settings['id2label'] = dict(enumerate(names))
        settings['label2id'] = {name: i for i, name in enumerate(names)}
        del settings['num_labels']
    return weights, settings


def add_segmentor(subject: Subject, weights: dict[str, Tensor]) -> dict:
    """Add the decoder to ``weights`` and return what the config says of it.

    transformers reads the outputs *before* each of the layers that it counts, so that of the last
    layer is out of its reach. One more layer, whose weights are zeros and which therefore changes
    nothing, brings it there.
    """
    for name, tensor in subject.module.state_dict().items():
        for ours, theirs in SEGMENTOR.items():
            if name.startswith(ours):
                weights[theirs + name.removeprefix(ours)] = tensor
                break
    depth, model = subject.encoder.num_layers, subject.module
    last = LAYER.format(depth - 1)
    for name in [name for name in weights if name.startswith(last)]:
        empty = LAYER.format(depth) + name.removeprefix(last)
        weights[empty] = torch.zeros_like(weights[name])
    subject.notes.append(
        f'config.json has {depth + 1} layers, one more than the model: transformers cannot read '
        'the output of the last layer. The additional one has zeros as weights and changes nothing.'
    )
    if model.test_cfg.get('mode') == 'slide':
        subject.notes.append(
            f'transformers sees an image as a whole, resized to {subject.size[0]} x '
            f'{subject.size[1]} pixels; beit_mm segments larger ones window by window.'
        )
    return dict(
        num_hidden_layers=depth + 1,
        out_indices=[layer + 2 for layer in subject.encoder.out_indices],
        pool_scales=list(model.decode_head.psp_modules.pool_scales),
        use_auxiliary_head=False,  # for training alone
        num_labels=model.decode_head.num_classes,
    )


def make_config(sizes: Sizes, state: Mapping[str, Tensor]) -> dict:
    """Return what of a BeitConfig follows from the tensors, and our LayerNorm's epsilon."""
    pretrain = 'lm_head.weight' in state
    inner_norm = any(n.endswith('layernorm.weight') and 'pooler' not in n for n in state)
    if pretrain:
        inner_norm = 'beit.layernorm.weight' in state
    return dict(
        vocab_size=sizes.vocab or 8192,
        num_labels=sizes.classes or 2,
        hidden_size=sizes.dims,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.hidden,
        image_size=sizes.image[0] if sizes.image[0] == sizes.image[1] else list(sizes.image),
        patch_size=sizes.patch,
        num_channels=sizes.channels,
        layer_scale_init_value=0.1 if sizes.layer_scale else 0.0,
        use_absolute_position_embeddings=sizes.abs_pos,
        use_shared_relative_position_bias=any(
            'encoder.relative_position' in n or 'shared_position_bias' in n for n in state
        ),
        use_relative_position_bias=any(n.endswith(TABLE) and '.0.' in n for n in state),
        use_mask_token=pretrain,
        use_mean_pooling=not inner_norm,
        layer_norm_eps=1e-6,
    )


def make_processor(subject: Subject) -> dict:
    """Return the preprocessor_config.json."""
    resizing = Resizing.of(subject)
    size = dict(height=subject.size[0], width=subject.size[1])
    return dict(
        image_processor_type='BeitImageProcessor',
        do_resize=True,
        size=size if resizing.edge is None else dict(shortest_edge=resizing.edge),
        resample=RESAMPLE[resizing.interpolation],
        do_center_crop=resizing.edge is not None,
        crop_size=size,
        do_rescale=True,
        rescale_factor=1 / subject.white,
        do_normalize=True,
        image_mean=[value / subject.white for value in subject.mean],
        image_std=[value / subject.white for value in subject.std],
        do_reduce_labels=False,
        **(dict(do_convert_rgb=True) if subject.in_channels == 3 else {}),
    )
