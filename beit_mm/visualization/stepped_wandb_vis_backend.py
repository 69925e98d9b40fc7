import numpy as np
from mmengine.config import Config
from mmengine.visualization import WandbVisBackend
from mmengine.visualization.vis_backend import force_init_env

from beit_mm.registry import VISBACKENDS


@VISBACKENDS.register_module()
class SteppedWandbVisBackend(WandbVisBackend):
    """WandbVisBackend whose curves are over the iterations of the training.

    MMEngine's counts the calls instead, so that a validation lies at no iteration, and it sends the
    code of the current folder. This one sends the config, scalars and images, or keeps them on the
    disk (``WANDB_MODE=offline``).
    """

    @force_init_env
    def add_config(self, config: Config, **kwargs) -> None:
        self._wandb.config.update(config.to_dict(), allow_val_change=True)

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs) -> None:
        self._wandb.log({name: self._wandb.Image(image)}, step=step)

    @force_init_env
    def add_scalar(self, name: str, value, step: int = 0, **kwargs) -> None:
        self._wandb.log({name: value}, step=step)

    @force_init_env
    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path=None, **kwargs) -> None:
        self._wandb.log(scalar_dict, step=step)

    def close(self) -> None:
        if self._env_initialized:
            self._wandb.finish()
