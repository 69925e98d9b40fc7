"""The tables and the plot of docs/results.md, made of the records of all cells."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean

from beit_mm.contracts import UserError
from benchmarks.evidence.cifar10 import (
    FINETUNE_STEPS,
    INIT_STEPS,
    SHORT_FINETUNE_STEPS,
    SHORT_RATES,
    SHORT_STEPS,
)

DOCS = Path(__file__).resolve().parents[2] / 'docs'
PAGE, RUNS, PLOT = DOCS / 'results.md', DOCS / 'evidence/runs.json', DOCS / 'images/results.svg'
KEPT = (
    *('name', 'kind', 'method', 'variant', 'start', 'labels', 'share', 'rate', 'seed', 'steps'),
    *('metrics', 'layers', 'wall_seconds', 'cpu_seconds', 'resumed', 'machine'),
    *('torch', 'lightly_train'),
)
NAMES = dict(beit='BEiT', scratch='random weights', mae='MAE', simmim='SimMIM', hog='HOG')
NAMES |= {'mae-tokens': "MAE with BEiT's tokens", 'simclr': 'SimCLR of lightly-train'}
BLOCK = re.compile(r'(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)', re.DOTALL)


def collect(out: Path, earlier: Iterable[dict] = ()) -> list[dict]:
    """Return the finished records of a folder, and those of ``earlier`` that it lacks."""
    found = [json.loads(path.read_text()) for path in sorted((out / 'records').rglob('*.json'))]
    runs = [record for record in found if 'cpu_seconds' in record and not record['quick']]
    kept = [{key: run[key] for key in KEPT if key in run} for run in runs]
    names = {run['name'] for run in kept}
    both = kept + [run for run in earlier if run['name'] not in names]
    return sorted(both, key=lambda run: run['name'])


def read_runs() -> list[dict]:
    """Return the records that the page is made of."""
    return json.loads(RUNS.read_text()) if RUNS.is_file() else []


def write_page(runs: list[dict]) -> None:
    """Write the records, and the tables and the plot of them."""
    RUNS.parent.mkdir(exist_ok=True)
    RUNS.write_text('[\n' + ',\n'.join(json.dumps(run) for run in runs) + '\n]\n')
    PAGE.write_text(fill(PAGE.read_text(), runs))
    draw(runs, PLOT)


def fill(text: str, runs: list[dict]) -> str:
    """Return a page with the tables in it made again."""

    def replace(match: re.Match) -> str:
        if match[2] not in TABLES:
            raise UserError(f'{PAGE}: there is no table {match[2]!r}, but {sorted(TABLES)}')
        return f'{match[1]}{TABLES[match[2]](runs)}\n{match[3]}'

    return BLOCK.sub(replace, text)


# ---- tables ----


def few_labels(runs: list[dict]) -> str:
    """Accuracy by amount of labels, start and length."""
    plain = [run for run in runs if not run.get('variant')]
    groups = grouped(plain, 'cls', ('labels', 'start', 'steps', 'rate'), 'cifar10')
    shown = main_starts(runs)
    rows = []
    for (labels, start, steps, rate), group in sorted(groups.items(), key=str):
        if start in shown:
            values = [run['metrics']['accuracy/top1'] for run in group]
            rows.append([labels, title(start), steps, f'{rate:g}', spread(values), len(values)])
    rows.sort(key=lambda row: (row[0], row[1], row[2]))
    return markdown(('labels', 'start', 'steps', 'learning rate', 'accuracy, %', 'seeds'), rows)


def rates(runs: list[dict]) -> str:
    """Held-out accuracy by learning rate."""
    groups = grouped(runs, 'select', ('start', 'labels', 'steps'), 'cifar10')
    names = sorted({run['rate'] for group in groups.values() for run in group})
    rows = []
    for (start, labels, steps), group in sorted(groups.items()):
        values = {run['rate']: run['metrics']['accuracy/top1'] for run in group}
        cells = [f'{values[rate]:.1f}' if rate in values else 'not run' for rate in names]
        rows.append([title(start), labels, steps, *cells])
    return markdown(('start', 'labels', 'steps', *(f'{rate:g}' for rate in names)), rows)


def layers(runs: list[dict]) -> str:
    """Probes of each layer of the pre-training of the first table."""
    shown = main_starts(runs)
    rows = [
        [title(run['start']), number, f'{layer["knn"]:.1f}', f'{layer["linear"]:.1f}']
        for run in runs
        if run['kind'] == 'probes' and run['start'] in shown
        for number, layer in enumerate(run['layers'], 1)
    ]
    return markdown(('start', 'layer', 'kNN, %', 'linear, %'), rows)


def compared(
    runs: list[dict], is_shown: Callable[[dict], bool], steps: int = SHORT_STEPS, base: str = ''
) -> str:
    """Pre-trainings of equal length: probes of the last layer, and accuracy with few labels.

    Args:
        base: A method. The figures of the rows after it are differences from it, seed by seed.
    """
    short = [
        run
        for run in runs
        if run['kind'] == 'pretrain'
        and run['name'].startswith('cifar10/')
        and is_shown(run)
        and run['steps'] == steps
    ]
    rows, origin = [], [{}] * 4
    for method, variant in dict.fromkeys((run['method'], run['variant']) for run in short):
        same = [run for run in short if (run['method'], run['variant']) == (method, variant)]
        time = [1000 * run['cpu_seconds'] / run['steps'] for run in same if not run['resumed']]
        row = [NAMES.get(method, method), variant.replace('-', ' '), len(same), steps]
        row += [f'{fmean(time):.0f}' if time else '']
        columns = values_by_seed(runs, same)
        rows.append([*row, *map(versus, columns, origin)])
        if (method, variant) == (base, ''):
            origin = columns
    heads = ('pre-training', 'change', 'seeds', 'steps', 'CPU ms a step', 'kNN, %', 'linear, %')
    return markdown((*heads, '400 labels, %', '4,000 labels, %'), rows)


def values_by_seed(runs: list[dict], pretrained: list[dict]) -> list[dict]:
    """Return kNN, linear probe and accuracy with 400 and 4,000 labels, each ``{seed: value}``."""
    knn, linear, accuracy = {}, {}, {400: {}, 4_000: {}}
    for pretraining in pretrained:
        seed, name = pretraining['seed'], pretraining['name'].removeprefix('cifar10/pretrain-')
        for run in runs:
            if run['kind'] == 'probes' and run['start'] == name:
                knn[seed], linear[seed] = (run['layers'][-1][probe] for probe in ('knn', 'linear'))
            if is_short(run) and run['start'] == name and run['rate'] == SHORT_RATES[0]:
                accuracy.get(run['labels'], {})[seed] = run['metrics']['accuracy/top1']
    return [knn, linear, *accuracy.values()]


def peer_rates(runs: list[dict]) -> str:
    """Accuracy of short fine-tunings by learning rate, for the first seed."""
    found = defaultdict(dict)
    for run in runs:
        if is_short(run) and run['seed'] == 0:
            found[run['labels'], run['start']][run['rate']] = run['metrics']['accuracy/top1']
    rows = []
    for (labels, start), values in sorted(found.items()):
        if len(values) > 1:
            cells = [f'{values[rate]:.1f}' if rate in values else 'not run' for rate in SHORT_RATES]
            rows.append([labels, title(start), *cells])
    return markdown(('labels', 'start', *(f'{rate:g}' for rate in SHORT_RATES)), rows)


def is_short(run: dict) -> bool:
    """Return whether a record is a short fine-tuning without changes."""
    is_plain = run['kind'] == 'cls' and not run['variant']
    return is_plain and run['steps'] == SHORT_FINETUNE_STEPS


def versus(values: dict, origin: dict) -> str:
    """Return the values, or their differences from those of the same seeds in ``origin``."""
    if not origin:
        return spread(list(values.values()))
    return spread([values[seed] - origin[seed] for seed in values if seed in origin], sign='+')


def recipe(runs: list[dict]) -> str:
    """Accuracy by changes of the fine-tuning, as differences from none, seed by seed."""
    found, shown = defaultdict(dict), main_starts(runs)
    for run in runs:
        if run['kind'] == 'cls' and run['start'] in shown:
            key = run['labels'], run['start'], run['steps'], run['rate']
            found[key].setdefault(run['variant'], {})[run['seed']] = run['metrics']['accuracy/top1']
    rows = []
    for (labels, start, steps, _), variants in sorted(found.items()):
        origin = variants.pop('', {})
        if variants:
            rows.append([labels, title(start), 'none', steps, versus(origin, {}), len(origin)])
        for variant, values in variants.items():
            row = [labels, title(start), variant.replace('-', ' ').replace('+', ', '), steps]
            rows.append([*row, versus(values, origin), len(values)])
    return markdown(('labels', 'start', 'change', 'steps', 'accuracy, %', 'seeds'), rows)


def masks(runs: list[dict]) -> str:
    """Segmentation of CamVid by share of the masks."""
    groups = grouped(runs, 'seg', ('share', 'start', 'steps', 'rate'), 'camvid')
    rows = []
    for (share, start, steps, rate), group in sorted(groups.items()):
        values = [run['metrics']['mIoU'] for run in group]
        rows.append([f'{share} %', title(start), steps, f'{rate:g}', spread(values), len(values)])
    return markdown(('masks', 'start', 'steps', 'learning rate', 'mIoU', 'seeds'), rows)


def gains(runs: list[dict]) -> str:
    """Gain over random weights, seed by seed: with the same labels and steps."""
    rows = []
    for kind, metric, amount in (('cls', 'accuracy/top1', 'labels'), ('seg', 'mIoU', 'share')):
        shown = [
            run
            for run in runs
            if run['kind'] == kind and not run.get('variant') and run['start'] in first_starts(runs)
        ]
        scratch = defaultdict(float)  # the best of several rates
        for run in shown:
            if run['start'] == 'scratch':
                key = run[amount], run['steps'], run['seed']
                scratch[key] = max(scratch[key], run['metrics'][metric])
        found = defaultdict(list)
        for run in shown:
            key = run[amount], run['steps'], run['seed']
            if run['start'] != 'scratch' and key in scratch:
                value = run['metrics'][metric] - scratch[key]
                found[run[amount], title(run['start']), run['steps']].append(value)
        for (size, start, steps), values in sorted(found.items()):
            what = f'CIFAR-10, {size} labels' if kind == 'cls' else f'CamVid, {size} % of masks'
            rows.append([what, start, steps, spread(values), len(values)])
    heads = ('task', 'start', 'steps of both', 'gain over random weights, points', 'seeds')
    return markdown(heads, rows)


def first_starts(runs: list[dict]) -> set[str]:
    """Return the starts of the first tables, on CIFAR-10 and on CamVid."""
    return main_starts(runs) | {'beit', 'scratch'}


def classes(runs: list[dict]) -> str:
    """IoU of each class of CamVid, by share of the masks and start."""
    groups = grouped(runs, 'seg', ('share', 'start', 'steps'), 'camvid')
    names = sorted(
        {
            name
            for group in groups.values()
            for run in group
            for name in run['metrics']
            if name.startswith('IoU/')
        }
    )
    rows = []
    for (share, start, steps), group in sorted(groups.items()):
        values = [[run['metrics'].get(name, 0.0) for run in group] for name in names]
        rows.append([f'{share} %', title(start), steps, *(f'{fmean(v):.1f}' for v in values)])
    heads = [name.removeprefix('IoU/') for name in names]
    return markdown(('masks', 'start', 'steps', *heads), rows)


def tokens(runs: list[dict]) -> str:
    """What the tokenizers and pre-trainings say of themselves."""
    rows = []
    for run in runs:
        if run['kind'] not in ('tokenizer', 'pretrain'):
            continue
        metrics = run['metrics']
        quality = [
            f'{label} {metrics[name]:.{digits}f}'
            for name, label, digits in FIGURES
            if name in metrics
        ]
        minutes = run['cpu_seconds'] / 60
        time = f'{minutes:.1f}' + (' since it was resumed' if run['resumed'] else '')
        rows.append([run['name'], run['steps'], run['seed'], ', '.join(quality), time])
    return markdown(('training', 'steps', 'seed', 'validation', 'CPU minutes'), rows)


FIGURES = (
    ('tokenizer/codes_used_percent', 'codes used, %:', 1),
    ('tokenizer/perplexity', 'perplexity', 0),
    ('tokenizer/psnr', 'PSNR, dB:', 1),
    ('mim/gain_over_unigram', 'share of the entropy predicted:', 2),
    ('mim/accuracy', 'accuracy, %:', 1),
)
TABLES = {
    'few-labels': few_labels,
    'gains': gains,
    'rates': rates,
    'layers': layers,
    'inits': lambda runs: compared(runs, lambda run: run['method'] == 'beit', INIT_STEPS),
    'peers': lambda runs: compared(runs, lambda run: not run['variant']),
    'peer-rates': peer_rates,
    'ablations': lambda runs: compared(runs, lambda run: run['method'] == 'beit', base='beit'),
    'recipe': recipe,
    'camvid': masks,
    'camvid-classes': classes,
    'tokens': tokens,
}


def main_starts(runs: list[dict]) -> set[str]:
    """Return the starts of the first table: a rate was chosen, or the fine-tuning was long."""
    return {
        run['start']
        for run in runs
        if run['kind'] == 'select' or (run['kind'] == 'cls' and run['steps'] % FINETUNE_STEPS == 0)
    }


def grouped(
    runs: Iterable[dict], kind: str, keys: tuple[str, ...], data: str
) -> dict[tuple, list[dict]]:
    groups = defaultdict(list)
    for run in runs:
        if run['kind'] == kind and run['name'].startswith(f'{data}/'):
            groups[tuple(run[key] for key in keys)].append(run)
    return groups


def title(start: str) -> str:
    """Return how a start is named in the tables: its method, and steps and seed of its training."""
    found = re.fullmatch(r'(.+?)-(\d+)-s(\d+)', start)
    if found is None:  # it has no length of ours
        method = re.sub(r'-s\d+$', '', start)
        return NAMES.get(method, method)
    method, steps, seed = found.groups()
    other = '' if seed == '0' else f', seed {seed}'
    return f'{NAMES.get(method, method)}, {int(steps):,} steps{other}'


def spread(values: list[float], sign: str = '') -> str:
    """Return the mean, and the range of several values; a ``sign`` of '+' is written, too."""
    if not values:
        return 'not run'
    mean, least, most = (f'{part(values):{sign}.1f}' for part in (fmean, min, max))
    return mean if len(values) == 1 else f'{mean} ({least} to {most})'


def markdown(heads: tuple[str, ...], rows: list[list]) -> str:
    if not rows:
        return 'Not run yet.'
    lines = [heads, ['---'] * len(heads), *rows]
    return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines)


# ---- the plot ----


def draw(runs: list[dict], path: Path) -> None:
    """Draw the accuracy over the number of labels, a line for each start and length."""
    import matplotlib

    matplotlib.use('Agg')
    matplotlib.rcParams.update({'svg.hashsalt': 'results', 'svg.fonttype': 'none'})
    from matplotlib import pyplot

    groups = grouped(runs, 'cls', ('start', 'steps', 'rate', 'variant'), 'cifar10')
    figure, axes = pyplot.subplots(figsize=(6, 5.4), layout='constrained')
    colors, markers = {}, {}  # of starts, and of rates
    for (start, steps, rate, variant), group in sorted(groups.items(), key=str):
        is_main = start in main_starts(runs) and steps % FINETUNE_STEPS == 0
        is_other_seed = ', seed ' in title(start)
        if not is_main or variant or is_other_seed:  # shorter fine-tunings are in tables alone
            continue
        labels = sorted({run['labels'] for run in group})
        values = [
            [run['metrics']['accuracy/top1'] for run in group if run['labels'] == amount]
            for amount in labels
        ]
        means = [fmean(value) for value in values]
        down = [mean - min(value) for mean, value in zip(means, values, strict=True)]
        up = [max(value) - mean for mean, value in zip(means, values, strict=True)]
        name = f'{title(start)}; {steps:,} steps of fine-tuning, rate {rate:g}'
        style = dict(
            color=f'C{colors.setdefault(start, len(colors))}',
            linestyle='-' if steps == FINETUNE_STEPS else '--',
            marker=markers.setdefault(rate, 'osv^D'[len(markers) % 5]),
        )
        axes.errorbar(labels, means, yerr=[down, up], capsize=3, label=name, **style)
    axes.set(xscale='log', xlabel='labelled images', ylabel='accuracy on CIFAR-10, %')
    amounts = sorted({run['labels'] for run in runs if run['kind'] == 'cls'})
    axes.set_xticks(amounts, [f'{amount:,}' for amount in amounts])
    axes.minorticks_off()
    figure.legend(frameon=False, loc='outside lower center')
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata=dict(Date=None, Creator=None))
    pyplot.close(figure)
