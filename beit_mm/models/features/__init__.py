from beit_mm.models.features.backbone_features import BackboneFeatures
from beit_mm.models.features.clip_features import CLIPFeatures
from beit_mm.models.features.frozen_features import FrozenFeatures
from beit_mm.models.features.hf_features import HFFeatures
from beit_mm.models.features.patch_hog import PatchHOG
from beit_mm.models.features.patch_pixels import PatchPixels
from beit_mm.models.features.timm_features import TimmFeatures
