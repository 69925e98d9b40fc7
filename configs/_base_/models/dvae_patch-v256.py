# A dVAE for 32-pixel images that computes on the token grid alone: 8 pixels per token, a vocabulary
# of 256. `logit_scale` and `usage_weight` keep the vocabulary in use.
_base_ = './dvae_light-v256.py'
model = dict(type='PatchDVAETokenizer', usage_weight=0.01)
