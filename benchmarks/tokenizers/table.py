"""The figures of all tokenizers as a table in Markdown."""

COLUMNS = {  # heading: (key, format)
    'tokenizer': ('name', '{}'),
    'V': ('vocab_size', '{:.0f}'),
    'tokens/image': ('tokens_per_image', '{:.0f}'),
    'PSNR dB': ('psnr', '{:.2f}'),
    'SSIM': ('ssim', '{:.3f}'),
    'feature distance': ('feature_distance', '{:.4f}'),
    'codes used %': ('codes_used_percent', '{:.1f}'),
    'perplexity': ('perplexity', '{:.1f}'),
    'images/s': ('images_per_second', '{:.0f}'),
    'unigram entropy': ('unigram_entropy', '{:.2f}'),
    'gain over unigram %': ('gain_over_unigram_percent', '{:.1f}'),
    'kNN %': ('knn', '{:.2f}'),
    'linear %': ('linear', '{:.2f}'),
}
# Left out where no tokenizer has them.
OPTIONAL = ['feature distance', 'images/s', 'unigram entropy', 'gain over unigram %']
OPTIONAL += ['kNN %', 'linear %']


def make_table(results: list[dict]) -> str:
    """Return a table with a row for each tokenizer; of several seeds the mean (range)."""
    keys = {key for result in results for key in result}
    columns = {
        heading: column
        for heading, column in COLUMNS.items()
        if heading not in OPTIONAL or column[0] in keys
    }
    lines = [list(columns), ['---'] + ['---:'] * (len(columns) - 1)]
    for name in dict.fromkeys(result['name'] for result in results):
        rows = [result for result in results if result['name'] == name]
        done = [row for row in rows if 'failed' not in row]
        cells = [
            make_cell([row[key] for row in done if key in row], form)
            for key, form in columns.values()
        ]
        failed, collapsed = len(rows) - len(done), sum(row.get('collapsed', False) for row in done)
        notes = [f'{failed} failed'] * bool(failed) + [f'{collapsed} collapsed'] * bool(collapsed)
        cells[0] = name + (f' ({", ".join(notes)})' if notes else '')
        lines.append(cells)
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'


def make_cell(values: list, form: str) -> str:
    if not values or isinstance(values[0], str):
        return ''.join(values[:1])
    mean, low, high = (
        form.format(f) for f in (sum(values) / len(values), min(values), max(values))
    )
    return mean if low == high else f'{mean} ({low} to {high})'
