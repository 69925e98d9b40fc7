"""The dVAE of digit scenes with an entropy term that keeps all of its 256 tokens in use.

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train:          python tools/train.py configs/tokenizer/dvae_light-v256-usage_digit-scenes.py
Compare with others: python benchmarks/compare_tokenizers.py
Made for two CPU cores; results: docs/tokenizer_comparison.md.
"""

_base_ = ['./dvae_light-v256_digit-scenes.py']

model = dict(usage_weight=0.01)
