"""VQ-KD of BEiT v2 with CLIP ViT-B/16 as teacher and a decoder of 1 layer (arXiv 2208.06366).

    bash tools/dist_train.sh configs/tokenizer/vqkd_clip-base-p16-dec1_8xb64-amp-coslr-100e_in1k.py 8
Published: 100 % of the 8192 codes in use (unilm beit2/TOKENIZER.md). Not run here.
"""

_base_ = './vqkd_clip-base-p16-dec3_8xb64-amp-coslr-100e_in1k.py'
model = dict(decoder_layers=1)
