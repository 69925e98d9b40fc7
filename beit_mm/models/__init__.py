from beit_mm.models.autoencoders import *  # noqa: F403
from beit_mm.models.backbones import *  # noqa: F403
from beit_mm.models.features import *  # noqa: F403
from beit_mm.models.heads import *  # noqa: F403
from beit_mm.models.losses import *  # noqa: F403
from beit_mm.models.masked_image_model import MaskedImageModel
from beit_mm.models.necks import *  # noqa: F403
from beit_mm.models.quantizers import *  # noqa: F403
from beit_mm.models.tokenizers import *  # noqa: F403
from beit_mm.models.two_view_data_preprocessor import TwoViewDataPreprocessor
