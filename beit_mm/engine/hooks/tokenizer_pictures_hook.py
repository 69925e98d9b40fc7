import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook

from beit_mm.contracts import Tokenizer, TokenSource, TrainingState, UserError, check_integers
from beit_mm.contracts.runner_access import model_of
from beit_mm.registry import HOOKS
from beit_mm.visualization import reconstruction_grid, to_rgb, usage_histogram


@HOOKS.register_module()
class TokenizerPicturesHook(Hook, TrainingState):
    """Draw a tokenizer in training, or the targets in pre-training, at each validation.

    ``tokenizer_reconstructions`` shows the first validation images and what is decoded from their
    tokens, where the tokenizer can decode. ``tokenizer_usage`` shows how often each code occurs in
    the whole validation set of all processes. In pre-training there is ``target_usage`` alone: how
    often each code is the target of a masked patch. The pictures go to every backend of the
    runner's ``visualizer``.

    Args:
        num_images: Reconstructions that are shown.
        interval: Validations from one set of pictures to the next.

    Raises:
        UserError: The model that is validated is no tokenizer and has none with a vocabulary.
    """

    priority = 'NORMAL'
    resumed = ('validations',)

    def __init__(self, num_images: int = 8, interval: int = 1):
        check_integers('TokenizerPicturesHook', 1, num_images=num_images, interval=interval)
        self.num_images = num_images
        self.interval = interval
        self.validations = 0

    def before_val_epoch(self, runner) -> None:
        model = model_of(runner)
        if not isinstance(model, TokenSource) or model.vocab_size is None:
            raise UserError(
                f'custom_hooks: TokenizerPicturesHook with model.type={type(model).__name__}, '
                'which is no tokenizer and has none with a vocabulary; use it in the configs of '
                'tokenizers and of pre-trainings with tokens'
            )
        self.pretrains = not isinstance(model, Tokenizer)
        device = next(iter(model.state_dict().values()), torch.empty(0)).device
        self.counts = torch.zeros(model.vocab_size, dtype=torch.long, device=device)
        self.pairs: list[np.ndarray] = []
        self.validations += 1

    @property
    def is_due(self) -> bool:
        return (self.validations - 1) % self.interval == 0

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.is_due:
            return
        for sample in outputs:
            ids = sample['target_ids' if self.pretrains else 'ids'].flatten()
            self.counts += torch.bincount(ids, minlength=len(self.counts))
            if 'recon' in sample and len(self.pairs) < self.num_images:
                pair = torch.stack([sample['image'], sample['recon']])
                self.pairs.append(to_rgb(pair.float().cpu().numpy()))

    def after_val_epoch(self, runner, metrics=None) -> None:
        if not self.is_due:
            return
        all_reduce(self.counts)
        name = 'target_usage' if self.pretrains else 'tokenizer_usage'
        pictures = {name: usage_histogram(self.counts.cpu().numpy())}
        if self.pairs:
            images, recons = np.stack(self.pairs, 1)
            pictures['tokenizer_reconstructions'] = reconstruction_grid(images, recons)
        for name, picture in pictures.items():
            runner.visualizer.add_image(name, picture, runner.iter)
