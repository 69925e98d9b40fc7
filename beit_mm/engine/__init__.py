from beit_mm.checkpoints.store import AtomicLocalBackend
from beit_mm.engine import guards, hooks, loops, optim_wrappers, runners
from beit_mm.engine.guards import *  # noqa: F403
from beit_mm.engine.hooks import *  # noqa: F403
from beit_mm.engine.loops import *  # noqa: F403
from beit_mm.engine.optim_wrappers import *  # noqa: F403
from beit_mm.engine.runners import *  # noqa: F403

__all__ = [
    'AtomicLocalBackend',
    *(guards.__all__ + hooks.__all__ + loops.__all__),
    *(optim_wrappers.__all__ + runners.__all__),
]
