from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseModule
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from beit_mm.contracts.errors import UserError, warn


class StartingWeights(BaseModule):
    """Base of modules whose ``init_cfg`` names a checkpoint, which ``init_weights()`` reads.

    A Runner calls that. A module that is built and used without it computes with random weights:
    its first forward warns of that, unless a state dict was loaded into it.

    Attributes:
        awaited: Checkpoints that nothing is known of yet; empty from the first forward on.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.awaited = [step['checkpoint'] for step in pretrained_steps(self.init_cfg)]
        if self.awaited:
            self._start_check = self.register_forward_pre_hook(_warn_of_random_weights)
            self.register_load_state_dict_pre_hook(_see_state)

    def init_weights(self) -> None:
        """Read the checkpoints of ``init_cfg``, or draw what it says.

        Parts of other libraries keep the weights that their constructors gave them.

        Raises:
            UserError: A checkpoint has no tensor under the ``prefix`` that is given.
        """
        for part in self.modules():
            if not isinstance(part, BaseModule) and 'init_weights' in dir(part):
                part.is_init = True  # as MMEngine marks what it need not draw: timm's would
        try:
            super().init_weights()
        except AssertionError as error:  # MMEngine's, which names the prefix alone
            named = str(error).partition('. is not in')[0].rstrip('.')
            steps = pretrained_steps(self.init_cfg)
            wanted = [step for step in steps if step.get('prefix', '').rstrip('.') == named]
            if not wanted:
                raise
            path, prefix = wanted[0]['checkpoint'], wanted[0]['prefix']
            names = CheckpointLoader.load_checkpoint(path, map_location='cpu')
            names = names.get('state_dict', names)
            first = sorted({name.partition('.')[0] + '.' for name in names if '.' in name})
            raise UserError(
                f'init_cfg.prefix={prefix!r} of {type(self).__name__}: no tensor of {path} begins '
                f'with it; they begin with {", ".join(first[:9])}'
            ) from error

    def check_start(self) -> None:
        """Warn once if the checkpoint of ``init_cfg`` was not read, and nothing else was loaded."""
        if not self.awaited:
            return
        if not self.is_init:
            warn(
                f'{type(self).__name__} has random weights: nothing has read {self.awaited} of '
                'its init_cfg. Call init_weights() of the model after it is built, as a Runner '
                'does, or load a state dict'
            )
        self._start_is_known()

    def _start_is_known(self) -> None:
        if self.awaited:
            self.awaited = []
            self._start_check.remove()


def pretrained_steps(init_cfg: Any) -> list[Mapping]:
    """Return the steps of an ``init_cfg``, which is one or several, that load a checkpoint."""
    steps = init_cfg if isinstance(init_cfg, list | tuple) else [init_cfg]
    steps = [step for step in steps if isinstance(step, Mapping)]
    return [step for step in steps if step.get('type') == 'Pretrained' and step.get('checkpoint')]


def draw_weights(module: nn.Module) -> None:
    """Call ``init_weights()`` of a part that a constructor makes complete, unless it has no memory.

    A model on the meta device has nothing to draw, and MMEngine's own fails there.
    """
    if isinstance(module, BaseModule) and not any(p.is_meta for p in module.parameters()):
        module.init_weights()


def _warn_of_random_weights(module: StartingWeights, inputs: tuple) -> None:
    module.check_start()


def _see_state(module: StartingWeights, state_dict: dict, prefix: str, *_) -> None:
    if any(name.startswith(prefix) for name in state_dict):
        module._start_is_known()
