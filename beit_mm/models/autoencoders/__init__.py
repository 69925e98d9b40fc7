"""Encoders and decoders for AutoencoderTokenizer.

Each takes ``in_channels``, ``out_channels``, ``stride`` and sizes of its own. An encoder's last
convolution gives what is quantized: AutoencoderTokenizer standardizes it, and a quantizer resets
its rows.
"""

from beit_mm.models.autoencoders.conv_autoencoder import ConvDecoder, ConvEncoder
from beit_mm.models.autoencoders.dalle_autoencoder import DALLEDecoder, DALLEEncoder
from beit_mm.models.autoencoders.dalle_pytorch_autoencoder import (
    DALLEPytorchDecoder,
    DALLEPytorchEncoder,
)
from beit_mm.models.autoencoders.patch_autoencoder import PatchDecoder, PatchEncoder
