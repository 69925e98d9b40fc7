# VQ-KD of BEiT v2 (arXiv 2208.06366, section 3.1): 16 pixels per token, 8192 codes of 32 numbers.
# The teacher is CLIP ViT-B/16, from the cache or the hub of transformers.
model = dict(
    type='VQKDTokenizer',
    vocab_size=8192,
    code_dim=32,
    arch='base',
    img_size=224,
    patch_size=16,
    decoder_layers=3,
    teacher=dict(type='CLIPFeatures', model='openai/clip-vit-base-patch16'),
)
