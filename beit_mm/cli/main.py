"""The command ``beit-mm VERB ...``: one entry for all that the package does."""

import sys
from importlib import import_module

import beit_mm
from beit_mm.cli.closed_pipe import closed_pipe_ends

# Verb: module of beit_mm.cli with a main(arguments), and what it does.
VERBS = {
    'chain': ('chain', 'train all stages on a folder of images, and report'),
    'train': ('train', 'train the model of a config'),
    'test': ('test', 'evaluate a checkpoint with the test data of its config'),
    'embed': ('embed', 'write the features of images'),
    'tokenize': ('tokenize', 'write the visual tokens of images'),
    'reconstruct': ('reconstruct', 'draw images from their tokens, or their masked patches'),
    'classify': ('classify', 'write the classes of images'),
    'segment': ('segment', 'write the class of each pixel of images'),
    'predict': ('predict', 'write what the model was trained for'),
    'export': ('export', 'write a folder for Hugging Face, timm, ONNX or load_model'),
    'demo': ('demo', 'open a page in the browser that asks a model about images'),
    'report': ('report', 'draw a page about one training or several'),
    'probe': ('probe', 'measure what the features of encoders know of classes'),
    'describe': ('describe_checkpoint', 'print what a checkpoint says of itself'),
    'convert': ('convert', 'convert a checkpoint between layouts'),
    'check-config': ('check_config', 'say what is wrong with a config before anything is built'),
    'check-dataset': ('check_dataset', 'find broken images, masks and labels'),
    'browse-dataset': ('browse_dataset', 'draw what the model sees of a data set'),
    'print-config': ('print_config', 'show all that a config sets'),
    'band-statistics': ('band_statistics', 'compute mean and std of the channels of images'),
    'cache-tokens': ('cache_tokens', 'encode the images of a pre-training once'),
    'visualize-tokenizer': ('visualize_tokenizer', 'draw what the tokens of a tokenizer mean'),
    'tiles': ('make_tiles', 'cut large images and masks into tiles'),
    'digit-scenes': ('make_digit_scenes', 'write the data set of the quickstart'),
}


def list_verbs() -> str:
    """Return the help of the command: a line for each verb."""
    width = max(map(len, VERBS))
    lines = [f'  {verb:<{width}}  {what}' for verb, (_, what) in VERBS.items()]
    return '\n'.join(['usage: beit-mm VERB ...', '', *lines, '', 'beit-mm VERB --help says more'])


def run_verb(arguments: list[str]) -> None:
    """Run the verb that ``arguments`` begin with."""
    if not arguments or arguments[0] in ('-h', '--help'):
        print(list_verbs())
        return
    verb, *rest = arguments
    if verb == '--version':
        print(f'beit_mm {beit_mm.__version__}')
        return
    if verb not in VERBS:
        print(f'beit-mm: there is no verb {verb!r}\n\n{list_verbs()}', file=sys.stderr)
        sys.exit(2)
    sys.argv = [f'beit-mm {verb}', *rest]  # argparse and the log name the program by it
    import_module(f'beit_mm.cli.{VERBS[verb][0]}').main(rest)


def main() -> None:
    """Run ``beit-mm`` with the arguments of the process."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in VERBS:
        with closed_pipe_ends():
            run_verb(arguments)
        return
    from beit_mm.cli.run_tool import run_tool  # brings torch along

    run_tool(lambda: run_verb(arguments))


if __name__ == '__main__':
    main()
