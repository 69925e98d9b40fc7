"""FSQ (arXiv 2309.15505) on CIFAR-10: 8 x 8 x 8 x 4 x 4 = 8192 tokens, as many as in BEiT.

    python tools/train.py configs/tokenizer/fsq_8x8x8x4x4-v8192_cifar10.py
Result after 600 steps: PSNR 24.2 dB, 87 % of the codes in use (docs/tokenizer_comparison.md).
Steps and batch are those of dvae_light-v512_cifar10.py.
"""

_base_ = '../_base_/experiments/cifar10_tokenizer.py'
model = dict(
    type='FSQTokenizer',
    # The paper has (8, 8, 8, 6, 5) for 2^14 codes. With levels of 5 and more, as it advises, only
    # (8, 8, 8, 16) and the like give 8192; here two of them are 4.
    levels=(8, 8, 8, 4, 4),
    scale=1.0,
    in_channels=3,
    stride=4,
    width=128,
    num_blocks=2,
)
default_hooks = dict(codebook_guard=dict(grace=2_000, action='stop'))
