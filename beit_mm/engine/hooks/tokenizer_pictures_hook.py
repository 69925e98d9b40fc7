import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from beit_mm.registry import HOOKS
from beit_mm.visualization import reconstruction_grid, to_rgb, usage_histogram


@HOOKS.register_module()
class TokenizerPicturesHook(Hook):
    """Pictures of a tokenizer in training, or of the targets in pre-training, at each validation.

    ``tokenizer_reconstructions``: the first validation images and what their tokens say of them,
    where the tokenizer can decode. ``tokenizer_usage``: how often each code occurs in the whole
    validation set (of all processes). In pre-training there is ``target_usage`` alone: how often
    each code is the target of a masked patch. They go to every backend of the runner's
    ``visualizer``.

    Args:
        num_images: Reconstructions that are shown.
        interval: Validations from one set of pictures to the next.

    Raises:
        ValueError: The model that is validated is no tokenizer and has none with a vocabulary.
    """

    priority = 'NORMAL'

    def __init__(self, num_images: int = 8, interval: int = 1):
        for name, value in (('num_images', num_images), ('interval', interval)):
            if value < 1:
                raise ValueError(f'TokenizerPicturesHook.{name}={value}: expected at least 1')
        self.num_images = num_images
        self.interval = interval
        self.validations = 0

    def before_val_epoch(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.pretrains = hasattr(model, 'tokenizer')
        tokenizer = model.tokenizer if self.pretrains else model
        vocab_size = getattr(tokenizer, 'vocab_size', None)
        if vocab_size is None or not hasattr(tokenizer, 'encode'):
            raise ValueError(
                f'custom_hooks: TokenizerPicturesHook with model.type={type(model).__name__}, '
                'which is no tokenizer and has none with a vocabulary; use it in the configs of '
                'tokenizers and of pre-trainings with tokens'
            )
        self.counts = torch.zeros(vocab_size, dtype=torch.long, device=self._device(model))
        self.pairs: list[np.ndarray] = []
        self.validations += 1

    @property
    def due(self) -> bool:
        return (self.validations - 1) % self.interval == 0

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.due:
            return
        for sample in outputs:
            ids = sample['target_ids' if self.pretrains else 'ids'].flatten()
            self.counts += torch.bincount(ids, minlength=len(self.counts))
            if 'recon' in sample and len(self.pairs) < self.num_images:
                pair = torch.stack([sample['image'], sample['recon']])
                self.pairs.append(to_rgb(pair.float().cpu().numpy()))

    def after_val_epoch(self, runner, metrics=None) -> None:
        if not self.due:
            return
        all_reduce(self.counts)
        name = 'target_usage' if self.pretrains else 'tokenizer_usage'
        pictures = {name: usage_histogram(self.counts.cpu().numpy())}
        if self.pairs:
            images, recons = np.stack(self.pairs, 1)
            pictures['tokenizer_reconstructions'] = reconstruction_grid(images, recons)
        for name, picture in pictures.items():
            runner.visualizer.add_image(name, picture, runner.iter)

    def training_state(self) -> dict[str, int]:
        return dict(validations=self.validations)

    def load_training_state(self, state: dict[str, int]) -> None:
        self.validations = state['validations']

    @staticmethod
    def _device(model) -> torch.device:
        tensor = next(iter(model.state_dict().values()), torch.empty(0))
        return tensor.device
