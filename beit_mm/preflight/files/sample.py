import hashlib
from dataclasses import dataclass

from beit_mm.contracts import Finding
from beit_mm.preflight.files.image_file import Loader, check_image, read_file
from beit_mm.preflight.files.mask_file import MaskRules, check_mask


@dataclass(frozen=True)
class Sample:
    """One entry of a data set: its files and labels."""

    image: str
    mask: str | None = None
    labels: tuple[float, ...] = ()


def check_sample(
    sample: Sample, loader: Loader, rules: MaskRules
) -> tuple[list[Finding], tuple[str, str, set[int]] | None]:
    """Return what is wrong, and of a readable image a hash, its values, its mask's classes."""
    content, finding = read_file(sample.image)
    if content is None:
        found, facts, holds = [finding], None, None
    else:
        found, facts = check_image(sample.image, content, loader)
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        holds = digest, '' if facts is None else facts.values, set()
    if sample.mask is not None:
        wrong, classes = check_mask(sample.mask, facts, rules)
        found = [*found, *wrong]
        holds = holds and (*holds[:2], classes)
    return found, holds
