# DALL-E's dVAE (arXiv 2102.12092, appendix A): 8 pixels per token, a vocabulary of 8192.
model = dict(
    type='DALLETokenizer',
    vocab_size=8192,
    temperature=1.0,
    kl_weight=6.6 / 192,  # 6.6 summed over positions, divided by the image's values
)
