# The dVAE of lucidrains/DALLE-pytorch with the defaults of its class; the leaf has other vocabularies.
model = dict(
    type='DALLEPytorchTokenizer',
    vocab_size=256,
    in_channels=3,
    stride=8,
    width=64,
    num_blocks=1,
    code_dim=512,
    temperature=1.0,
    kl_weight=0.0,
)
