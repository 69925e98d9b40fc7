"""The classes that a description in a file may name.

A registry imports whatever ``type`` says and calls it, so a name is looked up only if it is here
or if the caller allows it. None of these opens files, downloads, imports or evaluates what it is
given.
"""

OWN_MODELS = (
    *('MaskedImageModel', 'TwoViewDataPreprocessor', 'BEiTEncoder'),
    *('AutoencoderTokenizer', 'BSQTokenizer', 'DALLEPytorchTokenizer', 'DALLETokenizer'),
    *('DVAETokenizer', 'FSQTokenizer', 'FeatureTarget', 'KMeansTokenizer', 'LFQTokenizer'),
    *('PatchDVAETokenizer', 'RandomProjectionTokenizer', 'ResidualVQTokenizer', 'VQKDTokenizer'),
    *('VQVAETokenizer', 'ConvDecoder', 'ConvEncoder', 'DALLEDecoder', 'DALLEEncoder'),
    *('DALLEPytorchDecoder', 'DALLEPytorchEncoder', 'PatchDecoder', 'PatchEncoder'),
    *('BSQ', 'EMAVectorQuantizer', 'FSQ', 'GumbelQuantizer', 'LFQ', 'ResidualVQ'),
    *('BackboneFeatures', 'PatchHOG', 'PatchPixels'),
    *('MaskedPatchNeck', 'PatchAggregationNeck', 'PatchMeanNeck'),
    *('FeatureRegressionHead', 'SoftTokenHead', 'VisualTokenHead'),
    *('L1ReconLoss', 'LogitLaplaceReconLoss', 'MSEReconLoss', 'SmoothL1ReconLoss'),
)
# They load weights of other libraries by name, or are left out of descriptions.
OWN_REFUSED = ('CLIPFeatures', 'HFFeatures', 'TimmFeatures', 'PerceptualReconLoss')
MMPRETRAIN_MODELS = (
    *('ImageClassifier', 'ClsDataPreprocessor', 'GlobalAveragePooling', 'ClsHead'),
    *('LinearClsHead', 'StackedLinearClsHead', 'VisionTransformerClsHead', 'BEiTV1Head'),
    *('CrossEntropyLoss', 'LabelSmoothLoss', 'FocalLoss', 'AsymmetricLoss', 'SeesawLoss'),
)
MMSEG_MODELS = (
    *('EncoderDecoder', 'SegDataPreProcessor', 'Feature2Pyramid', 'FPN', 'MultiLevelNeck'),
    *('FCNHead', 'UPerHead', 'SETRUPHead', 'SETRMLAHead', 'FPNHead', 'PSPHead', 'ASPPHead'),
    *('SegformerHead', 'CrossEntropyLoss', 'DiceLoss', 'FocalLoss', 'LovaszLoss', 'TverskyLoss'),
)
# Of MMEngine's root registry.
ROOT_MODELS = (
    *('BN', 'BN1d', 'BN2d', 'SyncBN', 'GN', 'LN', 'IN', 'IN2d'),
    *('ReLU', 'GELU', 'LeakyReLU', 'PReLU', 'ReLU6', 'SiLU', 'Sigmoid', 'Tanh', 'Swish'),
    *('Conv', 'Conv1d', 'Conv2d', 'nearest', 'bilinear', 'deconv', 'ImgDataPreprocessor'),
    'BaseDataPreprocessor',
)
MODEL_TYPES = frozenset(
    [f'beit_mm.{name}' for name in OWN_MODELS]
    + [f'mmpretrain.{name}' for name in MMPRETRAIN_MODELS]
    + [f'mmseg.{name}' for name in MMSEG_MODELS]
    + [*ROOT_MODELS]
)
TRANSFORM_TYPES = frozenset(
    (
        *('beit_mm.LoadMultiBandImage', 'beit_mm.TwoViewResizedCrop'),
        *('LoadImageFromFile', 'Resize', 'CenterCrop', 'Pad', 'Normalize'),
        *('mmpretrain.ResizeEdge', 'mmpretrain.CenterCrop', 'mmpretrain.Resize'),
        *('mmseg.Resize', 'mmseg.ResizeToMultiple', 'mmseg.ResizeShortestEdge', 'mmseg.Rerange'),
        *('mmseg.CLAHE', 'mmseg.RGB2Gray', 'mmseg.AdjustGamma'),
    )
)
# Keys by which a config names files, code or other registries.
REFUSED_KEYS = frozenset(
    (
        *('init_cfg', 'pretrained', 'checkpoint', 'load_from', '_scope_', '_base_', '_delete_'),
        *('custom_imports', 'backend_args', 'file_client_args', 'data_root', 'ann_file'),
    )
)
