"""What hooks ask of a runner, in one place."""

import torch.nn as nn
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside a DistributedDataParallel or another wrapper."""
    return model.module if is_model_wrapper(model) else model


def model_of(runner) -> nn.Module:
    """Return the runner's model without its wrapper."""
    return unwrap(runner.model)


def optim_wrappers(runner) -> list[OptimWrapper]:
    """Return the runner's optimizer wrapper, or all of an OptimWrapperDict."""
    wrapper = runner.optim_wrapper
    return list(getattr(wrapper, 'optim_wrappers', {'': wrapper}).values())


def at_update_boundary(runner) -> bool:
    """Return whether this step updated the weights, for use in ``after_train_iter``.

    Under gradient accumulation a step may end with gradients that no checkpoint holds.
    """
    return all(wrapper.should_update() for wrapper in optim_wrappers(runner))
