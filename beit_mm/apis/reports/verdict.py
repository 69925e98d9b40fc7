"""What the figures of runs mean, in words."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from beit_mm.apis.reports.curves import blind_guess, num_classes, unigram_entropy
from beit_mm.apis.reports.run import Run
from beit_mm.contracts.config_walk import is_number

# As CodebookGuardHook.min_perplexity and PredictionGuardHook.min_gap have them.
COLLAPSED, LEARNED_NOTHING = 0.05, 0.01
FEW_CODES = 0.15  # of the vocabulary; below, other settings of the tokenizer are worth a try
DRAWS_NOTHING, DRAWS_LITTLE = 0.1, 0.3  # of the variance of the pixels
HARDLY_MORE = 1.1  # times the mean accuracy of a segmentation that answers one class
MAIN = dict(
    tokenizer=('tokenizer/perplexity',),
    pretraining=('mim/accuracy', 'mim/explained_variance'),
    classification=('accuracy/top1', 'single-label/f1-score', 'multi-label/mAP'),
    segmentation=('mIoU',),
    training=(),
)
WORDS = {
    'tokenizer/perplexity': '{:.1f} perplexity',
    'mim/accuracy': '{:.1f} % of masked tokens',
    'mim/explained_variance': '{:.2f} of the variance',
    'accuracy/top1': '{:.1f} % accuracy',
    'mIoU': '{:.1f} % mean IoU',
}


@dataclass
class Verdict:
    """A sentence with its ``mark``: 'good', 'unsure', 'bad' or 'note'."""

    mark: str
    text: str


def judge(run: Run) -> list[Verdict]:
    """Say whether a run has ended well and what it has learned."""
    about = dict(
        tokenizer=_judge_tokenizer,
        pretraining=_judge_pretraining,
        classification=_judge_task,
        segmentation=_judge_task,
        training=lambda run: [],
    )
    found = [*_judge_end(run), *about[run.task](run)]
    if run.reports_of_guards:
        number = len(run.reports_of_guards)
        text = f'The guards reported {number} problem{"s" * (number > 1)} in training, see below.'
        found.append(Verdict('unsure', text))
    return found


def _judge_end(run: Run) -> list[Verdict]:
    done, planned, unit = run.steps
    losses = [entry['loss'] for entry in run.log if 'loss' in entry and entry['kind'] == 'train']
    if run.error:
        return [Verdict('bad', f'It ended with an error after {done} {unit}: {run.error}')]
    if losses and not math.isfinite(losses[-1]):
        return [Verdict('bad', 'Its loss is no number any more (NaN or infinite).')]
    if not done:
        return [Verdict('unsure', 'It has not logged a step.')]
    if not run.is_finished:
        return [Verdict('unsure', f'It is not finished: {done} of {planned} {unit}.')]
    return []


def _judge_tokenizer(run: Run) -> list[Verdict]:
    perplexity = run.metric('tokenizer/perplexity') or run.last('perplexity')
    size, share = run.vocab_size, run.metric('tokenizer/codes_used_percent')
    if perplexity is None or not size:
        return [Verdict('unsure', 'It has not logged how many of its codes it uses.')]
    return [_judge_vocabulary(perplexity, size, share), *_judge_drawings(run)]


def _judge_vocabulary(perplexity: float, size: int, share: float | None) -> Verdict:
    used = f'{share:.0f} % of its {size} codes are used' if share else f'it has {size} codes'
    facts = f'{used}, with a perplexity of {perplexity:.1f}'
    if perplexity < COLLAPSED * size:
        return Verdict('bad', f'The vocabulary has collapsed: {facts}.')
    if perplexity < FEW_CODES * size:
        return Verdict('unsure', f'Few codes do most of the work: {facts}.')
    return Verdict('good', f'The vocabulary is healthy: {facts}.')


def _judge_drawings(run: Run) -> list[Verdict]:
    explained = run.metric('tokenizer/explained_variance')
    if explained is None:  # a tokenizer without a decoder, or one of an earlier version
        return []
    facts = f'{100 * max(explained, 0):.0f} % of the variance of the pixels'
    if not explained >= DRAWS_NOTHING:  # NaN, too
        return [Verdict('bad', f'It draws hardly more than one color yet: {facts}.')]
    if explained < DRAWS_LITTLE:
        return [Verdict('unsure', f'It draws little of what the images show: {facts}.')]
    return [Verdict('good', f'It draws what the images show: {facts}.')]


def _judge_pretraining(run: Run) -> list[Verdict]:
    explained = run.metric('mim/explained_variance')
    if explained is not None:
        return [
            _gain(explained, f'it explains {100 * explained:.1f} % of the variance of its targets')
        ]
    entropy = unigram_entropy(run)
    gain = run.metric('mim/gain_over_unigram')
    gain = run.last('gain_over_unigram') if gain is None else gain
    loss = run.metric('mim/loss')
    if gain is None and loss is not None and entropy:
        gain = 1 - loss / entropy
    if gain is None or not entropy:
        return [Verdict('unsure', 'It has logged no unigram entropy to compare its loss with.')]
    loss = entropy * (1 - gain)
    facts = (
        f'a loss of {loss:.2f} nats, where always guessing by the frequency of the tokens gives '
        f'{entropy:.2f} ({100 * abs(gain):.0f} % {"better" if gain > 0 else "worse"})'
    )
    return [_gain(gain, facts)]


def _gain(gain: float, facts: str) -> Verdict:
    if gain > LEARNED_NOTHING:
        return Verdict('good', f'It has learned to predict masked patches: {facts}.')
    return Verdict('bad', f'It has learned nothing of the images yet: {facts}.')


def _judge_task(run: Run) -> list[Verdict]:
    name, value = main_figure(run)
    if value is None or not math.isfinite(value):
        return [Verdict('unsure', 'It has not been validated.')]
    facts = in_words(name, value)
    guess = blind_guess(run)
    if name == 'mIoU' and (found := _one_class_everywhere(run)):
        return [Verdict('bad', f'It reaches {facts}: {found}.')]
    if name != 'accuracy/top1' or guess is None:
        return [Verdict('note', f'It reaches {facts}.')]
    what, chance, images = guess
    share = chance / 100  # with as many images, two standard errors are luck
    luck = 200 * math.sqrt(share * (1 - share) / images) if images else 0.2 * chance
    if value >= chance + luck and luck:
        return [Verdict('good', f'It reaches {facts}; {what}: {chance:.1f} %.')]
    if images and value >= chance - luck:
        text = f'It reaches {facts}, not clearly more than {what} ({chance:.1f} %)'
        return [Verdict('unsure', f'{text}: with {images} images, {luck:.1f} points may be luck.')]
    more = 'hardly' if value > chance else 'not'
    return [Verdict('bad', f'It reaches {facts}, {more} more than {what} ({chance:.1f} %).')]


def _one_class_everywhere(run: Run) -> str:
    """Return words if a segmentation answers hardly more than one class, '' if it does."""
    pixels = [row.get('pixels') for row in run.per_class]
    seen = sum(is_number(count) and count > 0 for count in pixels)
    if seen == 1:
        return 'its validation has one class alone, so that this says nothing; add masks of others'
    classes, accuracy = seen or num_classes(run), run.metric('mAcc')
    if not classes or accuracy is None or not accuracy < HARDLY_MORE * 100 / classes:
        return ''
    return (
        f'its mean accuracy of the classes is {accuracy:.1f} %, where one class everywhere has '
        f'{100 / classes:.1f} %. Train longer, or weigh rare classes more '
        '(model.decode_head.loss_decode.class_weight)'
    )


def main_figure(run: Run) -> tuple[str, float | None]:
    """Return name and value of the figure by which runs of a task are compared."""
    for name in MAIN[run.task]:
        value = run.metric(name)
        if isinstance(value, int | float):
            return name, value
    return '', None


def in_words(name: str, value: float) -> str:
    return WORDS[name].format(value) if name in WORDS else f'{name} {value:.2f}'


def compare(runs: Sequence[Run], images: dict[str, int | None]) -> list[Verdict]:
    """Say whether pre-training helps: fine-tuned runs beside those from scratch.

    Args:
        images: Of the validation of each run, by its name.
    """
    found = []
    for task in ('classification', 'segmentation'):
        fine = [run for run in runs if run.task == task and run.is_pretrained]
        scratch = [run for run in runs if run.task == task and not run.is_pretrained]
        tuned = [run for run in fine if not run.is_frozen]
        pairs = [(a, b) for b in scratch for a in tuned]
        near = [(a, b) for a, b in pairs if a.folder.parent == b.folder.parent]  # of one chain
        found += [_compare(a, b, images.get(b.name)) for a, b in near or pairs]
    return found


def _compare(tuned: Run, scratch: Run, images: int | None) -> Verdict:
    (name, a), (other, b) = main_figure(tuned), main_figure(scratch)
    words = f'{tuned.task.capitalize()}: {tuned.name} beside {scratch.name} (from scratch)'
    if a is None or b is None or name != other:
        return Verdict('unsure', f'{words}: there are no figures to compare.')
    facts = f'{in_words(name, a)} and {in_words(name, b)}'
    if _data(tuned) != _data(scratch):
        return Verdict('unsure', f'{words}: {facts}, but their validation data differ.')
    images = images or tuned.tested_images
    if not images:
        told = 'how many images validated them is not known, and so what may be luck'
        return Verdict('unsure', f'{words}: {facts}; {told}.')
    if name == 'accuracy/top1':  # two standard errors of a difference of two shares
        shares = [min(max(value / 100, 0), 1) for value in (a, b)]
        doubt = max(200 * math.sqrt(sum(s * (1 - s) for s in shares) / images), 100 / images)
    else:  # the same, where the IoU of an image has a standard deviation of 15 points
        doubt = max(1.0, 200 * 0.15 * math.sqrt(2 / images))
    why = f'with {images} images, differences below {doubt:.1f} points may be luck'
    same = tuned.steps[0] == scratch.steps[0]
    effort = '' if same else f' (after {tuned.steps[0]} and {scratch.steps[0]} {tuned.steps[2]})'
    if a - b > doubt:
        return Verdict('good', f'Pre-training helps. {words}: {facts}{effort}.')
    if b - a > doubt:
        return Verdict('bad', f'Pre-training does not help. {words}: {facts}{effort}.')
    text = f'No clear difference by pre-training. {words}: {facts}{effort}; {why}.'
    return Verdict('unsure', text)


def _data(run: Run) -> object:
    data = ((run.config or {}).get('val_dataloader') or {}).get('dataset') or {}
    return {key: value for key, value in data.items() if key != 'pipeline'}


def are_repeats(runs: Sequence[Run]) -> bool:
    """Return whether runs differ in their seeds and folders alone, and so have a mean."""
    found = []
    for run in runs:
        config = run.config or {}
        parts = [config.get(f'{name}_dataloader') or {} for name in ('train', 'val')]
        data = [part.get('dataset') for part in parts]
        optimizer = (config.get('optim_wrapper') or {}).get('optimizer')
        found.append((_unplaced([run.model, data, optimizer]), run.steps[1], run.vocab_size))
    return found == found[:1] * len(runs)


def _unplaced(value: object) -> object:
    """Return a part of a config without the files that the folder of a chain has."""
    if isinstance(value, Mapping):
        rest = {key: part for key, part in value.items() if key not in ('checkpoint', 'file_list')}
        return {key: _unplaced(part) for key, part in rest.items()}
    return [_unplaced(part) for part in value] if isinstance(value, list | tuple) else value


def next_steps(runs: Sequence[Run], verdicts: dict[str, list[Verdict]]) -> list[tuple[str, str]]:
    """Return what to do next, and a command for it or ''."""
    found, tasks = [], {run.task for run in runs}
    for run in runs:
        command = run.recorded('Command')
        again = f'{command} --resume' if command and '--resume' not in command else command or ''
        if not run.is_finished:
            found.append((f'Finish {run.name}: its last checkpoint is taken.', again))
        if run.task == 'tokenizer' and any(v.mark == 'bad' for v in verdicts[run.name]):
            text = f'Mend {run.name} before the pre-training; docs/tokenizers.md names remedies.'
            found.append((text, ''))
    by_task = {run.task: run for run in runs if run.checkpoint}
    where = {task: shlex.quote(str(run.folder)) for task, run in by_task.items()}
    if 'tokenizer' in where and 'pretraining' not in tasks:
        option = f'--cfg-options model.tokenizer.init_cfg.checkpoint={where["tokenizer"]}'
        found.append(('Pre-train with this tokenizer.', f'beit-mm train CONFIG {option}'))
    if 'pretraining' in where:
        folder = where['pretraining']
        if not tasks & {'classification', 'segmentation'}:
            option = f'--cfg-options model.backbone.init_cfg.checkpoint={folder}'
            text = 'Fine-tune on labelled images, and once from scratch to see what it gains.'
            found.append((text, f'beit-mm train CONFIG {option}'))
        text = 'Take its features: for search, clusters, or a classifier of your own.'
        found.append((text, f'beit-mm embed {folder} IMAGES --out features.npz'))
    for task, verb, out in (
        ('classification', 'classify', 'classes.csv'),
        ('segmentation', 'segment', 'masks'),
    ):
        those = [run for run in runs if run.task == task]
        if those and all(run.is_pretrained for run in those):
            text = f'Train {those[0].name} once more from scratch to see what pre-training gains.'
            option = '--cfg-options model.backbone.init_cfg=None'
            found.append((text, f'beit-mm train CONFIG {option}'))
        best = max(
            (run for run in those if run.checkpoint),
            key=lambda run: main_figure(run)[1] or 0.0,
            default=None,
        )
        if best is not None:
            folder = shlex.quote(str(best.folder))
            command = f'beit-mm {verb} {folder} IMAGES --out {out}'
            found.append((f'Use {best.name} on new images.', command))
    return found
