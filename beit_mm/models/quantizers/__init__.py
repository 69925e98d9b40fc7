from beit_mm.models.quantizers.bsq import BSQ
from beit_mm.models.quantizers.ema_vector_quantizer import EMAVectorQuantizer
from beit_mm.models.quantizers.fsq import FSQ
from beit_mm.models.quantizers.gumbel_quantizer import GumbelQuantizer
from beit_mm.models.quantizers.lfq import LFQ
from beit_mm.models.quantizers.residual_vq import ResidualVQ
