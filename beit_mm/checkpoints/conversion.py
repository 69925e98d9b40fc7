"""One conversion of named tensors, with a line about every tensor it has seen."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from beit_mm.contracts.errors import UserError, some


@dataclass
class Line:
    """What became of some tensors.

    Attributes:
        what: Copied, renamed, joined, split, expanded, resized, made or dropped.
        why: The reason, of what a reader would not expect.
    """

    what: str
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    why: str = ''


@dataclass
class Conversion:
    """Collects ``result`` out of ``source``; each verb takes tensors and writes its line."""

    source: Mapping[str, Tensor]
    result: dict[str, Tensor] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what the tensors don't tell

    def move(self, name: str, target: str) -> None:
        self._add('copied' if name == target else 'renamed', [name], {target: self.source[name]})

    def join(self, names: Sequence[str], target: str, tensor: Tensor) -> None:
        self._add('joined', names, {target: tensor})

    def split(self, name: str, parts: Mapping[str, Tensor]) -> None:
        self._add('split', [name], parts)

    def expand(self, name: str, targets: Sequence[str]) -> None:
        tensor = self.source[name]
        self._add('expanded', [name], dict.fromkeys(targets, tensor), 'one table for every layer')

    def resize(self, name: str, tensor: Tensor, why: str) -> None:
        self._add('resized', [name], {name: tensor}, why)

    def make(self, target: str, tensor: Tensor, why: str) -> None:
        self._add('made', [], {target: tensor}, why)

    def drop(self, name: str, why: str) -> None:
        self._add('dropped', [name], {}, why)

    def _add(
        self, what: str, sources: Sequence[str], made: Mapping[str, Tensor], why: str = ''
    ) -> None:
        for target, tensor in made.items():
            if target in self.result:
                raise UserError(f'Two tensors of the source are {target} in the result')
            self.result[target] = tensor
        self.lines.append(Line(what, tuple(sources), tuple(made), why))

    def finish(self) -> 'Conversion':
        """Check that each source tensor was used exactly once, and return self."""
        seen = Counter(name for line in self.lines for name in line.sources)
        wrong = [name for name in self.source if seen[name] != 1] + list(
            seen - Counter(seen.keys())
        )
        assert not wrong and set(seen) == set(self.source), f'not accounted for once: {wrong}'
        return self

    def counts(self) -> dict[str, int]:
        """Count the source tensors by what was done with them, and those that were made."""
        return dict(Counter(line.what for line in self.lines for _ in line.sources or line.targets))

    def summary(self) -> str:
        """Return the counts, then a line for each reason of a drop, an addition or a change."""
        parts = [f'{count} {what}' for what, count in self.counts().items()]
        reasons: dict[tuple[str, str], list[str]] = {}
        for line in self.lines:
            if line.why:
                reasons.setdefault((line.what, line.why), []).extend(line.sources or line.targets)
        rows = [f'  {what}: {some(names)} ({why})' for (what, why), names in reasons.items()]
        return '\n'.join([', '.join(parts), *rows, *self._notes()])

    def table(self) -> str:
        """Return every line as text."""
        rows = [
            f'{line.what:9s} {", ".join(line.sources) or "-"} -> {", ".join(line.targets) or "-"}'
            + (f'  ({line.why})' if line.why else '')
            for line in self.lines
        ]
        return '\n'.join([*rows, *self._notes()])

    def _notes(self) -> list[str]:
        return [f'  note: {note}' for note in self.notes]
