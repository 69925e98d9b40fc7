from beit_mm.checkpoints.store.atomic_local_backend import (
    AtomicLocalBackend,
    sweep,
    write_atomically,
)
from beit_mm.checkpoints.store.plain_values import plain_message_hub, restored_message_hub, to_plain
from beit_mm.checkpoints.store.resume_fit import changed_settings, classes_of, why_unfit
from beit_mm.checkpoints.store.saved_checkpoints import (
    POINTER,
    NoUsableCheckpointError,
    bring_back,
    newest_valid,
    pointed_at,
    retire,
    retired,
    steps_of,
    why_broken,
)
from beit_mm.checkpoints.store.work_dir_lock import WorkDirInUseError, lock

__all__ = [
    'POINTER',
    'AtomicLocalBackend',
    'NoUsableCheckpointError',
    'WorkDirInUseError',
    'bring_back',
    'changed_settings',
    'classes_of',
    'lock',
    'newest_valid',
    'plain_message_hub',
    'pointed_at',
    'restored_message_hub',
    'retire',
    'retired',
    'steps_of',
    'sweep',
    'to_plain',
    'why_broken',
    'why_unfit',
    'write_atomically',
]
