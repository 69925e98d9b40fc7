from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import EMAHook

from beit_mm.checkpoints.description import describe, tokenizer_of
from beit_mm.checkpoints.description.stored import KEY
from beit_mm.checkpoints.store import classes_of, plain_message_hub, restored_message_hub, to_plain
from beit_mm.contracts import TrainingState, UserError
from beit_mm.contracts.runner_access import model_of
from beit_mm.engine.guards.non_finite_guard_hook import NonFiniteError, first_non_finite
from beit_mm.engine.loops.resumable_loop import ResumableLoop


class CheckpointNotSavedError(UserError, OSError):
    """The disk took no checkpoint, after all tries."""


class CheckpointContent:
    """What AtomicCheckpointHook adds to MMEngine's checkpoints, and takes from them.

    That is the state of the data loop and of each TrainingState, the classes of the parts, and what
    the run does to images, patches and tokens.

    Args:
        max_history: Entries that are kept of each logged scalar.
    """

    def __init__(self, max_history: int):
        self.max_history = max_history
        self.states: list[dict] = []  # of all processes, while a checkpoint is made
        self.digests: dict[str, str] | None = None  # of a frozen tokenizer

    def gather(self, runner) -> None:
        """Collect the training states of all processes, of which the first one writes."""
        if parts := _with_training_state(runner):
            own = {name: part.training_state() for name, part in parts.items()}
            self.states = all_gather_object(own)

    def complete(self, runner, checkpoint: dict) -> None:
        """Add the states and the description, and make all values plain.

        Raises:
            NonFiniteError: A weight is NaN or infinite.
        """
        if isinstance(runner._train_loop, ResumableLoop):
            checkpoint['train_loop'] = runner._train_loop.state_dict()
        checkpoint['classes'] = classes_of(runner)
        for key in ('state_dict', 'ema_state_dict'):
            if name := first_non_finite(checkpoint.get(key, {})):
                raise NonFiniteError(
                    f'Iteration {checkpoint["meta"]["iter"]}: {name} of {key} is not finite, so no '
                    'checkpoint is written; the last one is from before. Resume from it with a '
                    'lower learning rate, or set optim_wrapper.clip_grad'
                )
        if self.states:
            checkpoint['module_states'] = self.states
        self._describe(runner, checkpoint)
        checkpoint['message_hub'] = plain_message_hub(checkpoint['message_hub'], self.max_history)
        for key in checkpoint:
            checkpoint[key] = to_plain(checkpoint[key], key)

    def _describe(self, runner, checkpoint: dict) -> None:
        model = model_of(runner)
        meta = checkpoint['meta']
        found = describe(
            model, runner.cfg, checkpoint['state_dict'], self.digests, meta.get('dataset_meta')
        )
        meta[KEY] = found
        if tokenizer_of(model)[1]:  # a part of the model, which no step changes
            names = ('sha256', 'weights_sha256')
            self.digests = {name: found['tokenizer'][name] for name in names}

    def restore(self, runner, checkpoint: dict) -> None:
        """Load the states into their parts, where a run is resumed.

        Raises:
            UserError: The checkpoint has an EMA, and the run has no EMAHook.
        """
        if isinstance(checkpoint.get('message_hub'), dict):
            hub = restored_message_hub(checkpoint['message_hub'], self.max_history)
            checkpoint['message_hub'] = hub
        if not runner._resume:
            return
        if 'ema_state_dict' in checkpoint and not any(isinstance(h, EMAHook) for h in runner.hooks):
            raise UserError(
                'The checkpoint holds an EMA (ema_state_dict), but the config has no EMAHook: its '
                'state_dict are the averaged weights, and training would go on from them. Put '
                'EMAHook back into custom_hooks, or begin anew from them with load_from and '
                'resume=False'
            )
        if states := checkpoint.get('module_states'):
            state = states[get_rank() % len(states)]
            for name, part in _with_training_state(runner).items():
                if name in state:
                    part.load_training_state(state[name])
        if 'train_loop' in checkpoint and isinstance(runner._train_loop, ResumableLoop):
            runner._train_loop.load_state_dict(checkpoint['train_loop'])


def _with_training_state(runner) -> dict[str, TrainingState]:
    """Return the modules and hooks that keep something for ``resume`` outside of a state dict."""
    hooks = [(f'{type(hook).__name__}()', hook) for hook in runner.hooks]
    parts = [*model_of(runner).named_modules(), *hooks]
    return {name: part for name, part in parts if isinstance(part, TrainingState)}
