import hashlib
from collections.abc import Sequence

from beit_mm.contracts import UserError

PARTS = ('train', 'val')


def take_part(
    names: Sequence[str], groups: Sequence, part: str | None, val_share: float
) -> list[int]:
    """Return the positions of the samples for training or for validation; of all for None.

    The two parts share no sample. A digest of its name decides, so that the choice depends neither
    on the machine nor on the order, and changes little when images are added. Each group, such as
    a class, is divided by itself.

    Args:
        names: A different one for each sample.
        groups: Of each sample; a group of one sample goes to the training.
        part: 'train', 'val' or None.
        val_share: For the validation, in (0, 1).

    Raises:
        UserError: No sample is left for the validation.
    """
    if part is None:
        return [*range(len(names))]
    if part not in PARTS or not 0 < val_share < 1:
        raise UserError(
            f"part={part!r}, val_share={val_share}: expected 'train' or 'val', or None for all "
            'samples, and a share between 0 and 1'
        )
    members: dict = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    chosen = set()
    for positions in members.values():
        positions = sorted(positions, key=lambda position: _digest(names[position]))
        count = min(max(round(val_share * len(positions)), 1), len(positions) - 1)
        chosen.update(positions[:count])
    if names and not chosen and part == 'val':
        raise UserError(
            f"part='val' has no samples: each of {len(members)} classes has one alone, which goes "
            f'to the training ({names[0]!r} for example); add images, so that a class has two'
        )
    return [position for position in range(len(names)) if (position in chosen) == (part == 'val')]


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors='surrogateescape')).digest()
