"""A small config of each registered plugin, by which tests/contracts tries its kind's properties.

A new plugin needs a line here; the tests say so.
"""

from beit_mm.registry import MODELS

PIXELS = dict(type='PatchPixels', patch_size=4)
SIZES = dict(stride=4, width=8, num_blocks=1)
VIT = dict(embed_dims=16, num_layers=2, num_heads=2)
ENCODER = dict(type='BEiTEncoder', arch=VIT, img_size=16, patch_size=4)
FEATMAP = dict(ENCODER, out_type='featmap')

TOKENIZERS = dict(
    DVAETokenizer=dict(vocab_size=16, code_dim=4, logit_scale=3.0, **SIZES),
    PatchDVAETokenizer=dict(vocab_size=16, code_dim=4, logit_scale=3.0, **SIZES),
    DALLETokenizer=dict(vocab_size=16, code_dim=4, width=4, num_blocks=1),
    DALLEPytorchTokenizer=dict(vocab_size=16, code_dim=4, **SIZES),
    VQVAETokenizer=dict(vocab_size=16, code_dim=4, **SIZES),
    ResidualVQTokenizer=dict(num_codes=4, num_levels=2, code_dim=4, **SIZES),
    FSQTokenizer=dict(levels=(4, 3), scale=1.0, **SIZES),
    LFQTokenizer=dict(bits=4, **SIZES),
    BSQTokenizer=dict(bits=4, **SIZES),
    VQKDTokenizer=dict(
        vocab_size=16,
        code_dim=4,
        arch=VIT,
        img_size=16,
        patch_size=4,
        decoder_layers=1,
        teacher=dict(type='BackboneFeatures', dims=16, backbone=FEATMAP),
    ),
    KMeansTokenizer=dict(vocab_size=16, features=PIXELS, stride=4, start_vectors=32),
    RandomProjectionTokenizer=dict(vocab_size=16, features=PIXELS, stride=4),
)
TARGETS = dict(FeatureTarget=dict(features=PIXELS, stride=4))
BACKBONES = dict(BEiTEncoder={k: v for k, v in ENCODER.items() if k != 'type'})
NECKS = dict(
    MaskedPatchNeck=dict(dims=16),
    PatchAggregationNeck=dict(dims=16, num_heads=2, num_layers=1, early_layer=1, depth=2),
)
HEADS = dict(
    VisualTokenHead=dict(vocab_size=16, dims=16),
    SoftTokenHead=dict(vocab_size=16, dims=16),
    FeatureRegressionHead=dict(target_dims=48, dims=16),
)
FEATURES = dict(
    PatchPixels=dict(patch_size=4),
    PatchHOG=dict(patch_size=4),
    BackboneFeatures=dict(dims=16, backbone=FEATMAP),
    CLIPFeatures=dict(
        config=dict(
            model_type='clip_vision_model',
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=16,
            patch_size=4,
            projection_dim=8,
        )
    ),
    HFFeatures=dict(
        config=dict(
            model_type='vit',
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=16,
            patch_size=4,
        )
    ),
    TimmFeatures=dict(
        model='vit_tiny_patch16_224',
        pretrained=False,
        model_kwargs=dict(img_size=16, patch_size=4, embed_dim=24, depth=1, num_heads=2),
        input_size=16,
    ),
)
# The quantizers with what stands in the docstring of each; filled in by their class.
QUANTIZERS = dict(
    GumbelQuantizer=dict(vocab_size=16, code_dim=4),
    EMAVectorQuantizer=dict(vocab_size=16, code_dim=4),
    ResidualVQ=dict(num_codes=4, num_levels=2, code_dim=4),
    FSQ=dict(levels=(4, 3)),
    LFQ=dict(bits=4),
    BSQ=dict(bits=4),
)


def registered(contract: type) -> list[str]:
    """Return the names of the package's own classes that derive from ``contract``."""
    MODELS.import_from_location()
    return sorted(
        name
        for name, cls in MODELS.module_dict.items()
        if isinstance(cls, type)
        and issubclass(cls, contract)
        and cls.__module__.startswith('beit_mm.')
    )


def build(examples: dict, name: str, **changes):
    return MODELS.build(dict(examples[name], type=f'beit_mm.{name}', **changes))
