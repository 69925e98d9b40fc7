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
) -> tuple[list[Finding], tuple[str, str] | None]:
    """Return what is wrong with its files, and of a readable image a hash, and its values."""
    content, finding = read_file(sample.image)
    if content is None:
        found, facts, holds = [finding], None, None
    else:
        found, facts = check_image(sample.image, content, loader)
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        holds = digest, '' if facts is None else facts.values
    if sample.mask is not None:
        found = [*found, *check_mask(sample.mask, facts, rules)]
    return found, holds
