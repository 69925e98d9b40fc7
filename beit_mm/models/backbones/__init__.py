from beit_mm.models.backbones.beit_encoder import BEiTEncoder
