from beit_mm.checkpoints.store import AtomicLocalBackend
from beit_mm.engine.guards import *  # noqa: F403
from beit_mm.engine.hooks import *  # noqa: F403
from beit_mm.engine.loops import *  # noqa: F403
from beit_mm.engine.optim_wrappers import *  # noqa: F403
from beit_mm.engine.runners import *  # noqa: F403
