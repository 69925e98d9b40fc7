"""VQ-KD of BEiT v2 with DINO ViT-B/16 as teacher and a decoder of 1 layer (arXiv 2208.06366).

    bash tools/dist_train.sh configs/tokenizer/vqkd_dino-base-p16-dec1_8xb64-amp-coslr-100e_in1k.py 8
Published: 100 % of the 8192 codes in use (unilm beit2/TOKENIZER.md); a BEiT v2 that learned its
tokens has 84.4 % top-1 and 49.2 % mIoU (paper). Not run here. The teacher needs `pip install timm`.
"""

_base_ = './vqkd_clip-base-p16-dec3_8xb64-amp-coslr-100e_in1k.py'
model = dict(
    decoder_layers=1,
    teacher=dict(_delete_=True, type='TimmFeatures', model='vit_base_patch16_224.dino'),
)
