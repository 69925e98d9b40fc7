import os

import torch
from mmengine.config import Config

from beit_mm.contracts import UserError

# What torch reads <- what a launcher sets in each of its processes.
LAUNCHERS = dict(
    pytorch=dict(RANK='RANK', WORLD_SIZE='WORLD_SIZE'),
    slurm=dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
    mpi=dict(
        RANK='OMPI_COMM_WORLD_RANK',
        WORLD_SIZE='OMPI_COMM_WORLD_SIZE',
        LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK',
    ),
)
NOT_CONNECTED = (torch.distributed.DistNetworkError, torch.distributed.DistStoreError)
STARTED_BY = dict(pytorch='tools/dist_train.sh', slurm='tools/slurm_train.sh', mpi='mpirun')


def place_of_process(launcher: str) -> tuple[int, int]:
    """Return the number of this process and of all that a launcher has started, else 0 and 1.

    Raises:
        UserError: A variable that the launcher sets in each process is missing, or no such number.
    """
    if launcher == 'none':
        return 0, 1
    names = LAUNCHERS[launcher]
    limits = dict.fromkeys([*names.values(), 'LOCAL_RANK'], (0, 2**31))
    limits |= {names['WORLD_SIZE']: (1, 2**31), 'MASTER_PORT': (0, 2**16 - 1)}
    for name, (least, most) in limits.items():
        value = os.environ.get(name)
        if value is None and name in names.values():
            raise UserError(
                f'--launcher {launcher}: {name} is not set; start this with '
                f'{STARTED_BY[launcher]}, or leave --launcher out for one process'
            )
        if value is None or (value.isascii() and value.isdecimal() and least <= int(value) <= most):
            continue
        raise UserError(
            f'--launcher {launcher}: {name} is {value!r}; expected a number from {least} to '
            f'{most}, as {STARTED_BY[launcher]} sets it in each process'
        )
    return int(os.environ[names['RANK']]), int(os.environ[names['WORLD_SIZE']])


def start_distributed(config: Config, launcher: str) -> None:
    """Make the process group before MMEngine does, where there is no GPU.

    MMEngine calls ``torch.cuda.set_device`` for every backend, so gloo cannot be launched on a
    machine without CUDA. It takes a group that exists already as it is.

    Raises:
        UserError: What the launcher sets is no number. Several processes run on CPUs, but the
            config does not say ``device_ids=None``, or the launcher has not started this process.
            The processes do not find each other.
    """
    place_of_process(launcher)
    if launcher == 'none' or torch.cuda.is_available():
        return
    wrapper = config.get('model_wrapper_cfg') or {}
    if wrapper.get('device_ids', 0) is not None:
        raise UserError(
            'Several processes on CPUs need model_wrapper_cfg=dict(type='
            "'MMDistributedDataParallel', device_ids=None) in the config; configs/_base_/runtime "
            'has it'
        )
    for name, source in LAUNCHERS[launcher].items():
        os.environ[name] = os.environ[source]
    if 'MASTER_ADDR' not in os.environ:
        here = os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE', os.environ['WORLD_SIZE'])
        if os.environ.get('SLURM_NNODES', '1') != '1' or here != os.environ['WORLD_SIZE']:
            raise UserError('MASTER_ADDR is not set; name the machine of the first process in it')
        os.environ['MASTER_ADDR'] = '127.0.0.1'
    os.environ.setdefault('MASTER_PORT', '29500')
    try:
        torch.distributed.init_process_group('gloo')
    except NOT_CONNECTED as error:
        raise UserError(why_not_connected(error)) from error


def why_not_connected(error: Exception) -> str:
    """Say in words why the processes of a training did not find each other."""
    address, port = (os.environ.get(f'MASTER_{name}', 'unset') for name in ('ADDR', 'PORT'))
    if 'EADDRINUSE' in str(error) or 'ddress already in use' in str(error):
        return (
            f'port {port} is taken, perhaps by another training on this machine; choose another '
            'one, such as PORT=29511 bash tools/dist_train.sh ... (the variable MASTER_PORT)'
        )
    first = str(error).strip().split('\n')[0]
    return (
        f'the processes of the training did not meet at MASTER_ADDR={address}, MASTER_PORT={port}: '
        f'{first}. Look whether the first of them runs, and whether the machines reach each other'
    )
