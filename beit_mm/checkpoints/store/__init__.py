"""Checkpoints on the disk: whole files, the last valid one, who may write to the folder."""

from beit_mm.checkpoints.store.atomic_file import (
    LinkError,
    append,
    open_atomically,
    refuse_link,
    sweep,
    write_atomically,
)
from beit_mm.checkpoints.store.atomic_local_backend import AtomicLocalBackend, SaveQueue
from beit_mm.checkpoints.store.plain_values import plain_message_hub, restored_message_hub, to_plain
from beit_mm.checkpoints.store.resume_choice import (
    begin_run,
    choose_checkpoint,
    classes_of,
    disown_files,
    refuse_unfit,
    with_todays_names,
)
from beit_mm.checkpoints.store.saved_checkpoints import (
    POINTER,
    NoUsableCheckpointError,
    bring_back,
    newest_valid,
    point_and_rotate,
    pointed_at,
    retire,
    retired,
    steps_of,
    why_broken,
)
from beit_mm.checkpoints.store.work_dir_lock import WorkDirInUseError, lock
