"""How many threads, and which precision, train fastest on this machine now."""

import json
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch

from beit_mm.checkpoints.store import write_atomically
from beit_mm.models import BEiTEncoder

HARDWARE = 'stages/hardware.json'  # in the folder of a chain
REPEATS = 3
GAIN = 0.9  # of the time of less threads, or of full precision, that is worth more of them


@dataclass(frozen=True)
class Hardware:
    """How the stages of a chain run.

    Attributes:
        threads: Of torch in a process.
        amp: Train in mixed precision.
    """

    threads: int
    amp: bool

    @property
    def flags(self) -> list[str]:
        """Return what is added to the words of a training."""
        return ['--amp'] if self.amp else []

    @property
    def environment(self) -> dict[str, str]:
        """Return what is added to the environment of a process."""
        return dict(OMP_NUM_THREADS=str(self.threads), MKL_NUM_THREADS=str(self.threads))


def choose_hardware(path: Path) -> Hardware:
    """Return what ``path`` says, and measure and write it if there is no such file.

    A chain that goes on keeps the precision that it began with.
    """
    try:
        return Hardware(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # not there, or cut off
        found = Hardware(1, True) if torch.cuda.is_available() else fastest(measured())
        write_atomically(path, json.dumps(asdict(found), indent=2).encode())
        return found


def fastest(seconds: dict[Hardware, float]) -> Hardware:
    """Return the first one that no later one beats by more than a tenth."""
    best, *others = seconds
    for other in others:
        if seconds[other] < GAIN * seconds[best]:
            best = other
    return best


def measured() -> dict[Hardware, float]:
    """Return the seconds of a training step of a micro encoder on the CPU, for each choice."""
    most = torch.get_num_threads()  # the cores, or what OMP_NUM_THREADS says
    counts = [2**n for n in range(most.bit_length())]
    try:
        return {
            Hardware(threads, amp): _seconds_of(threads, amp)
            for amp, threads in product((False, True), counts)
        }
    finally:
        torch.set_num_threads(most)


def _seconds_of(threads: int, amp: bool) -> float:
    torch.set_num_threads(threads)
    encoder = BEiTEncoder(arch='micro', img_size=64, patch_size=8)
    images, times = torch.zeros(16, 3, 64, 64), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        with torch.autocast('cpu', torch.bfloat16, enabled=amp):
            loss = encoder(images)[-1].float().square().mean()
        loss.backward()
        times.append(time.perf_counter() - start)
    return min(times)
