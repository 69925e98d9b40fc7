import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from beit_mm.registry import HOOKS
from beit_mm.visualization.token_pictures import reconstruction_grid, to_rgb, usage_histogram


@HOOKS.register_module()
class TokenizerPicturesHook(Hook):
    """Pictures of a tokenizer in training, at the end of its validations.

    ``tokenizer_reconstructions``: the first validation images and what their tokens say of them,
    where the tokenizer can decode. ``tokenizer_usage``: how often each code occurs in the whole
    validation set (of all processes). They go to every backend of the runner's ``visualizer``.

    Args:
        num_images: Reconstructions that are shown.
        interval: Validations from one set of pictures to the next.

    Raises:
        ValueError: The model that is validated is no tokenizer.
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
        if not hasattr(model, 'vocab_size') or not hasattr(model, 'encode'):
            raise ValueError(
                f'custom_hooks: TokenizerPicturesHook with model.type={type(model).__name__}, '
                'which is no tokenizer; use it in the configs of tokenizers alone'
            )
        self.counts = torch.zeros(model.vocab_size, dtype=torch.long, device=self._device(model))
        self.pairs: list[np.ndarray] = []
        self.validations += 1

    @property
    def due(self) -> bool:
        return (self.validations - 1) % self.interval == 0

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.due:
            return
        for sample in outputs:
            ids = sample['ids'].flatten()
            self.counts += torch.bincount(ids, minlength=len(self.counts))
            if 'recon' in sample and len(self.pairs) < self.num_images:
                pair = torch.stack([sample['image'], sample['recon']])
                self.pairs.append(to_rgb(pair.float().cpu().numpy()))

    def after_val_epoch(self, runner, metrics=None) -> None:
        if not self.due:
            return
        all_reduce(self.counts)
        pictures = dict(tokenizer_usage=usage_histogram(self.counts.cpu().numpy()))
        if self.pairs:
            images, recons = np.stack(self.pairs, 1)
            pictures['tokenizer_reconstructions'] = reconstruction_grid(images, recons)
        for name, picture in pictures.items():
            runner.visualizer.add_image(name, picture, runner.iter)

    @staticmethod
    def _device(model) -> torch.device:
        tensor = next(iter(model.state_dict().values()), torch.empty(0))
        return tensor.device
