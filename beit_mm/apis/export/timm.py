"""A folder that timm loads: config.json of its hub format, model.safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from beit_mm.apis.export.fits import check_classifier
from beit_mm.apis.export.images import Resizing, compare_pictures
from beit_mm.apis.export.proof import compare, draw_batch
from beit_mm.apis.export.sizes import Sizes
from beit_mm.apis.export.subject import Subject, check_encoder
from beit_mm.checkpoints import LAYOUTS, write_weights
from beit_mm.contracts import UserError
from beit_mm.contracts.packages import need
from beit_mm.contracts.positions import TABLE

NORM_EPS = 1e-6  # of timm's LayerNorm, which its config cannot change
# timm builds all of them with one function; sizes that differ are in model_args.
ARCHITECTURES = {1024: 'beit_large_patch16_224'}


def adapt(subject: Subject) -> Subject:
    """Return the model that timm can have, or raise a UserError that says what it lacks."""
    encoder = check_encoder(subject, 'timm')
    if encoder.blocks[0].norm1.eps != NORM_EPS:
        raise UserError(
            f"timm's BEiT has norms with eps={NORM_EPS}, but the encoder's have "
            f'{encoder.blocks[0].norm1.eps}; export it with --to huggingface or --to onnx'
        )
    if subject.task == 'segmentation':
        raise UserError(
            'timm has no segmentors; export this one with --to onnx or --to huggingface, or its '
            'encoder with --backbone'
        )
    if subject.task == 'classification':
        check_classifier(subject, 'timm')
    elif subject.task == 'pretraining':
        subject.notes.append(
            'timm masks no patches, so the head that predicts tokens is left out. The norm before '
            'it is fc_norm, which timm applies to the mean of the patches.'
        )
    elif encoder.norm is None:
        subject.notes.append(
            "The encoder has no last norm. timm's fc_norm, which it applies to the mean of the "
            'patches, has weights of 1 and biases of 0.'
        )
    return subject.in_rgb()


def convert(subject: Subject) -> dict[str, Tensor]:
    """Return the tensors under timm's names."""
    task = 'classification' if subject.task == 'classification' else 'backbone'
    weights = LAYOUTS['timm'].from_ours(subject.state, task, subject.encoder.grid).result
    if subject.encoder.norm is None and 'fc_norm.weight' not in weights:
        dims, norm = subject.encoder.embed_dims, 'neck.norm.'
        weights['fc_norm.weight'] = subject.state.get(f'{norm}weight', torch.ones(dims))
        weights['fc_norm.bias'] = subject.state.get(f'{norm}bias', torch.zeros(dims))
    return weights


def make_arguments(sizes: Sizes, state: Mapping[str, Tensor]) -> dict:
    """Return the arguments of timm's Beit that follow from the tensors."""
    return dict(
        img_size=list(sizes.image),
        patch_size=sizes.patch,
        in_chans=sizes.channels,
        num_classes=len(state.get('head.weight', ())),
        embed_dim=sizes.dims,
        depth=sizes.layers,
        num_heads=sizes.heads,
        qkv_bias=sizes.qkv_bias,
        mlp_ratio=sizes.mlp_ratio,
        init_values=0.1 if sizes.layer_scale else None,
        use_abs_pos_emb=sizes.abs_pos,
        use_rel_pos_bias=f'blocks.0.attn.{TABLE}' in state,
        use_shared_rel_pos_bias=f'rel_pos_bias.{TABLE}' in state,
        use_fc_norm='fc_norm.weight' in state or 'norm.weight' not in state,
    )


def write(subject: Subject, folder: Path) -> None:
    need('timm', 'An export for timm')
    need('safetensors', 'An export for timm')
    weights = convert(subject)
    if subject.is_half:
        weights = {name: tensor.half() for name, tensor in weights.items()}
    write_weights(weights, folder / 'model.safetensors')
    arguments = make_arguments(subject.sizes, weights)
    dims, classes = arguments['embed_dim'], arguments['num_classes']
    text = json.dumps(
        dict(
            architecture=ARCHITECTURES.get(dims, 'beit_base_patch16_224'),
            num_classes=classes,
            num_features=dims,
            global_pool='avg',
            **(dict(label_names=subject.classes) if subject.classes and classes else {}),
            model_args=arguments,
            pretrained_cfg=make_pretrained_config(subject, classes),
        ),
        indent=2,
    )
    (folder / 'config.json').write_text(f'{text}\n')


def make_pretrained_config(subject: Subject, classes: int) -> dict:
    resizing = Resizing.of(subject)
    edge = resizing.edge
    return dict(
        input_size=[subject.in_channels, *subject.size],
        fixed_input_size=True,
        interpolation=resizing.interpolation,
        crop_pct=1.0 if edge is None else min(subject.size) / edge,
        crop_mode='squash' if edge is None else 'center',
        mean=[value / subject.white for value in subject.mean],
        std=[value / subject.white for value in subject.std],
        num_classes=classes,
        pool_size=None,
        first_conv='patch_embed.proj',
        classifier='head',
        **(dict(label_names=subject.classes) if subject.classes and classes else {}),
    )


@torch.no_grad()
def prove(subject: Subject, folder: Path) -> dict[str, float]:
    """Load the folder as its users do, and return the largest difference of each way."""
    timm = need('timm', 'An export for timm')
    name = f'local-dir:{folder}'
    x, _ = draw_batch(subject.in_channels, subject.size, subject.encoder.grid)
    ours = subject.compute(x)
    model = timm.create_model(name, pretrained=True).float().eval()
    what = 'create_model'
    theirs = dict(tokens=model.forward_features(x))
    if subject.task == 'classification':
        theirs['logits'] = model(x)
    found = {what: compare(theirs, ours, what)}

    what = 'features_only'
    depth = subject.encoder.num_layers
    fewer = dict(out_indices=depth) if depth < 3 else {}  # timm takes the last three
    model_of_maps = timm.create_model(name, pretrained=True, features_only=True, **fewer)
    features = model_of_maps.float().eval()(x)
    layers = subject.layers(x)[-len(features) :]
    theirs = {f'layer {i}': t for i, t in enumerate(features)}
    maps = [t[:, 1:].transpose(1, 2).unflatten(2, subject.encoder.grid) for t in layers]
    found[what] = compare(theirs, {f'layer {i}': t for i, t in enumerate(maps)}, what)

    what = 'reset_classifier'
    model.reset_classifier(0)
    found[what] = compare(dict(pooled=model(x)), ours, what)
    return found | prove_transform(subject, timm, model)


def prove_transform(subject: Subject, timm, model) -> dict[str, float]:
    """Compare the features of pictures that timm's own transform prepares."""
    settings = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**settings, is_training=False)
    return compare_pictures(
        subject,
        lambda picture: model.forward_features(transform(picture)[None]),
        'create_transform',
    )
