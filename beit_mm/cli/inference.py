"""What ``beit-mm embed``, ``classify``, ... have in common: a model, images, a file to write."""

import argparse
import hashlib
import sys
from pathlib import Path

from beit_mm.apis import find_images, load_model
from beit_mm.apis.run_verb import verb_of
from beit_mm.apis.verbs import PREDICTS
from beit_mm.apis.verbs.embed import POOLS
from beit_mm.cli.arguments import add_device, natural, positive_int
from beit_mm.cli.stored_parts import StoredParts
from beit_mm.contracts import UserError
from beit_mm.contracts.digest import weights_sha256

ABOUT = dict(
    embed='Write the features of images: .npz, .csv or .parquet',
    tokenize='Write the visual tokens of images: .npz, .csv or .parquet',
    reconstruct='Draw images from their tokens: a folder of pictures, .npz, .csv or .parquet',
    classify='Write the classes of images: .csv, .parquet or .npz',
    segment='Write the class of each pixel: a folder of masks and overlays, .npz, .csv or .parquet',
    predict='Write what the model was trained to predict: see the verb of its task',
)
MOST_REASONS = 20  # that are printed


def parse_args(verb: str, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=ABOUT[verb])
    parser.add_argument('model', help='a work dir, a checkpoint or an exported folder')
    parser.add_argument('images', nargs='+', help='files, folders or patterns')
    parser.add_argument('--out', type=Path, required=True, help='the suffix says the format')
    parser.add_argument('--config', help='of a checkpoint that does not describe itself')
    parser.add_argument(
        '--ema',
        action=argparse.BooleanOptionalAction,
        help='averaged weights, or those without averaging (default: as MMEngine, averaged)',
    )
    parser.add_argument('--batch-size', type=positive_int, default=32)
    parser.add_argument('--workers', type=natural, default=2, help='processes that read images')
    add_device(parser)
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'], default='float32')
    parser.add_argument('--overwrite', action='store_true', help='replace what is at --out')
    own = parser.add_argument_group(f'{verb} alone')
    if verb == 'embed':
        own.add_argument('--layer', type=int, default=-1, help='block, from 0 or from the end')
        own.add_argument('--pool', choices=POOLS, default='mean')
    elif verb == 'classify':
        own.add_argument('--topk', type=positive_int, default=5, help='classes in a line')
    elif verb == 'reconstruct':
        own.add_argument('--mask', type=float, metavar='RATIO', help='share of hidden patches')
    args = parser.parse_args(arguments)
    own = {name: vars(args).get(name) for name in ('layer', 'pool', 'topk', 'mask')}
    args.options = {name: value for name, value in own.items() if value is not None}
    return args


def run_inference(verb: str, arguments: list[str] | None = None) -> None:
    """Answer for all images and write it; images that cannot be used are named at the end.

    Stopped and called again, it goes on with the images that are left.

    Raises:
        UserError: No image can be used, or ``--out`` is there already.
    """
    args = parse_args(verb, arguments)
    model = load_model(args.model, args.config, args.device, args.dtype, ema=args.ema)
    verb = PREDICTS[model.task] if verb == 'predict' else verb
    found = verb_of(model.task, verb)
    found.check(model.module, **args.options)
    result_type = found.result
    result_type.check_path(args.out)
    if args.options.get('pool') == 'patches' and args.out.suffix.lower() != '.npz':
        raise UserError(f'--out {args.out}: features of patches make no table; take .npz')
    given = dict(find_images(args.images)[0])  # an image that is named twice is one
    written = args.out.absolute()
    images = [i for i in given.items() if not Path(i[0]).absolute().is_relative_to(written)]
    if not images:
        raise UserError(f'All images are in {args.out}, which is written to; name another --out')
    names = [name for name, _ in images]
    request = dict(
        verb=verb,
        options=args.options,
        dtype=args.dtype,
        model=weights_sha256(model.module.state_dict()),
        preprocessing=model.description.get('preprocessing'),
        images=hashlib.sha256('\n'.join(names).encode(errors='surrogateescape')).hexdigest(),
    )
    with StoredParts(args.out, request, names, args.overwrite) as parts:
        left = [image for name, image in images if name not in parts.done]
        if parts.done:
            print(f'{len(names) - len(left)} of {len(names)} images are done already')
        if left:
            batches = model.iter_batches(
                verb, left, args.batch_size, args.workers, errors='skip', **args.options
            )
            for result in batches:
                parts.add(result)
    whole = parts.finish(result_type)
    reasons = [*whole.failed.values()]
    for reason in reasons[:MOST_REASONS]:
        print(f'left out: {reason}', file=sys.stderr)
    if len(reasons) > MOST_REASONS:
        print(f'left out: {len(reasons) - MOST_REASONS} more', file=sys.stderr)
    if not len(whole):
        raise UserError(f'None of {len(names)} images can be used, {args.out} was not written')
    counts = f'{len(whole)} images' + f', {len(whole.failed)} left out' * bool(whole.failed)
    print(f'wrote {args.out}: {counts}')
