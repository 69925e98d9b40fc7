import argparse
import time

import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from beit_mm.cli.config_loading import load_config
from beit_mm.engine import CodebookGuardHook
from beit_mm.evaluation.frozen_probes import accuracy, knn, linear_probe
from beit_mm.registry import METRICS, MODELS
from benchmarks.tokenizers.labelled_features import labelled_features
from benchmarks.tokenizers.probe_images import TRAIN, Labelled, ProbeImages


class Figures:
    """What a comparison measures of a tokenizer and of the pre-training with its tokens.

    Args:
        args: ``perceptual`` is a config with ``backbone=dict(...)`` and perhaps mean and std.
    """

    def __init__(self, args: argparse.Namespace, images: ProbeImages):
        self.args, self.images, self.device = args, images, images.device
        self.perceptual, self.settings = None, []
        if args.perceptual:
            config = load_config(args.perceptual)
            self.settings = [config.pretty_text]
            given = {key: config[key] for key in ('backbone', 'mean', 'std') if key in config}
            self.perceptual = MODELS.build(dict(type='PerceptualReconLoss', **given))
            self.perceptual.to(self.device)

    def build(self, tokenizer: dict) -> nn.Module:
        model = MODELS.build(dict(tokenizer))
        model.init_weights()
        return model.eval().to(self.device)

    @torch.no_grad()
    def quality(self, tokenizer: dict) -> dict:
        """Measure reconstructions and use of the vocabulary over the validation images."""
        model = self.build(tokenizer)
        metric = METRICS.build(dict(type='TokenizerQuality', vocab_size=model.vocab_size))
        size, distances = 0, []
        for images in self.images.batches():
            samples = model.predict(images)
            metric.process({}, samples)
            size += len(samples)
            if self.perceptual and 'recon' in samples[0]:
                recon = torch.stack([sample['recon'] for sample in samples])
                distances += [len(samples) * self.perceptual.distance(recon, images).item()]
        figures = evaluate(metric, size)
        if distances:
            figures['feature_distance'] = sum(distances) / size
        tokens = samples[0]['ids'].numel()
        possible = min(model.vocab_size, size * tokens)
        return dict(
            **figures,
            collapsed=figures['perplexity'] < CodebookGuardHook().threshold(possible),
            vocab_size=model.vocab_size,
            tokens_per_image=tokens,
            parameters=sum(p.numel() for p in model.parameters()),
            validation_images=size,
        )

    @torch.no_grad()
    def speed(self, tokenizer: dict) -> float:
        """Return the images that are encoded in a second, the best of five passes."""
        model, batches = self.build(tokenizer), self.images.batches()
        model.encode(batches[0])
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            for images in batches:
                ids = model.encode(images)
            ids.cpu()  # waits for a GPU
            seconds.append(time.perf_counter() - start)
        return sum(map(len, batches)) / min(seconds)

    def probes(self, config: Config, checkpoint: str) -> dict:
        """Measure what a pre-training predicts, and what its frozen features know of labels."""
        torch.manual_seed(self.images.seed)
        model = MODELS.build(config.model)
        load_checkpoint(model, checkpoint, map_location='cpu')
        model.eval().to(self.device)
        mim = self.mim(model, config)
        train, labels = self.features(model, TRAIN, self.images.labelled())
        val, truth = self.features(model, self.images.val_folder, self.images.validation())
        return dict(
            knn=accuracy(knn(train, labels, val), truth),
            linear=accuracy(linear_probe(train, labels, val), truth),
            commonest_class=accuracy(labels.mode().values, truth),
            **mim,
        )

    def features(self, model: nn.Module, folder: str, rows: Labelled) -> tuple[Tensor, Tensor]:
        """Return features (N, C) of the encoder and labels (N,) of images in DIR/``folder``."""
        labels = [label for _, label in rows]
        inputs = self.images.inputs(folder, rows)
        return labelled_features(model, inputs, labels, num_classes=self.args.dense)

    @torch.no_grad()
    def mim(self, model: nn.Module, config: Config) -> dict:
        metric = METRICS.build(dict(type='MaskedTokenAccuracy'))
        size = 0
        for batch in self.images.load(config):
            samples = model(**batch, mode='predict')
            metric.process({}, samples)
            size += len(samples)
        figures = evaluate(metric, size)
        return dict(
            mim_accuracy=figures['accuracy'],
            mim_loss=figures['loss'],
            unigram_entropy=figures['unigram_entropy'],
            gain_over_unigram_percent=100 * figures['gain_over_unigram'],
        )


def evaluate(metric, size: int) -> dict[str, float]:
    """Return the metric's figures by their names without a prefix."""
    return {name.split('/')[-1]: value for name, value in metric.evaluate(size).items()}
