"""What hooks ask of a runner, in one place."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch.nn as nn
from mmengine.model import BaseAveragedModel, BaseTTAModel, is_model_wrapper
from mmengine.optim import OptimWrapper


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside DistributedDataParallel, an average or test-time augmentation."""
    for wrapper in wrappers(model):
        model = wrapper.module
    return model


def wrappers(model: nn.Module) -> Iterator[nn.Module]:
    """Yield what wraps a model, the outermost first."""
    while is_model_wrapper(model) or isinstance(model, BaseAveragedModel | BaseTTAModel):
        yield model
        model = model.module


@contextmanager
def in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Have a look inside move no running statistics and draw nothing."""
    trained = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in trained:
            part.training = True


def model_of(runner) -> nn.Module:
    """Return the runner's model without its wrappers."""
    return unwrap(runner.model)


def optim_wrappers(runner) -> list[OptimWrapper]:
    """Return the runner's optimizer wrapper, or all of an OptimWrapperDict."""
    wrapper = runner.optim_wrapper
    return list(getattr(wrapper, 'optim_wrappers', {'': wrapper}).values())


def param_groups(runner) -> list[dict]:
    """Return the parameter groups of all optimizers of a runner."""
    return [group for w in optim_wrappers(runner) for group in w.optimizer.param_groups]


def schedulers_of(runner) -> list:
    """Return the parameter schedulers of a runner, of an OptimWrapperDict too."""
    return flat_schedulers(runner.param_schedulers)


def flat_schedulers(schedulers: Mapping | Sequence | None) -> list:
    """Return schedulers, or their states, in one list; a dict has a list for each optimizer."""
    if isinstance(schedulers, Mapping):
        return [entry for entries in schedulers.values() for entry in entries]
    return list(schedulers or [])


def file_of(runner, index: int) -> str | None:
    """Return the file of training sample ``index``, if its data set knows."""
    try:
        return runner.train_dataloader.dataset.get_data_info(index).get('img_path')
    except Exception:  # a message must not fail where the training doesn't
        return None


def at_update_boundary(runner) -> bool:
    """Return whether this step updated the weights, for use in ``after_train_iter``.

    Under gradient accumulation a step may end with gradients that no checkpoint holds.
    """
    return all(wrapper.should_update() for wrapper in optim_wrappers(runner))
