"""Under gradient accumulation, a step may end with gradients that no checkpoint holds."""

from mmengine.optim import OptimWrapper


def optim_wrappers(runner) -> list[OptimWrapper]:
    """The runner's wrapper, or all of an OptimWrapperDict."""
    wrapper = runner.optim_wrapper
    return list(getattr(wrapper, 'optim_wrappers', {'': wrapper}).values())


def at_update_boundary(runner) -> bool:
    """In ``after_train_iter``: whether this step updated the weights, so nothing is pending."""
    return all(wrapper.should_update() for wrapper in optim_wrappers(runner))
