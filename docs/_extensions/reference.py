"""Directives of the reference: options of verbs, plugins of a room. A nav that may have gaps."""

import argparse
import fnmatch
import sys
from importlib import import_module
from pathlib import Path
from unittest import mock

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from beit_mm.cli.main import VERBS, run_verb


class Caught(Exception):
    """Ends a verb where it would read its arguments."""


def parser_of(verb: str) -> argparse.ArgumentParser:
    """Return the parser that a verb of ``beit-mm`` reads its arguments with."""
    found = []

    def catch(parser, *arguments, **options):
        found.append(parser)
        raise Caught

    with (
        mock.patch.object(argparse.ArgumentParser, 'parse_args', catch),
        mock.patch.object(sys, 'argv', sys.argv),  # the verb sets it
    ):
        try:
            run_verb([verb])
        except Caught:
            return found[0]
    raise RuntimeError(f'beit-mm {verb} has read no arguments')


def describe(action: argparse.Action) -> tuple[str, str]:
    """Return how an argument is written, and what it means."""
    if action.option_strings and action.nargs == 0:
        written = ', '.join(action.option_strings)
    else:
        shape = argparse.HelpFormatter('')._format_args(action, action.dest.upper())
        shape = ' '.join(action.choices) if action.choices and not action.metavar else shape
        written = ' '.join(filter(None, [', '.join(action.option_strings), shape]))
    meaning = (action.help or '').replace('%(default)s', str(action.default))
    shown = action.default
    is_shown = isinstance(shown, str | int | float | Path) and not isinstance(shown, bool)
    if is_shown and shown != argparse.SUPPRESS and 'default' not in meaning:
        meaning = f'{meaning} (default: {shown})'.strip()
    return written, meaning


class CliVerbs(SphinxDirective):
    """``{cli-verbs}``: a section for each verb of ``beit-mm``, with its arguments."""

    def run(self) -> list[nodes.Node]:
        sections = []
        for verb, (_, what) in VERBS.items():
            section = nodes.section(ids=[f'verb-{verb}'], names=[verb])
            section += nodes.title(verb, verb)
            section += nodes.paragraph(text=f'{what[0].upper()}{what[1:]}.')
            actions = [a for a in parser_of(verb)._actions if a.dest != 'help']
            required = [describe(a)[0] for a in actions if a.required]
            text = ' '.join(['beit-mm', verb, *required, '[options]'])
            section += nodes.literal_block(text, text, language='text')
            section += nodes.definition_list('', *map(self.item, actions))
            sections.append(section)
        return sections

    @staticmethod
    def item(action: argparse.Action) -> nodes.definition_list_item:
        written, meaning = describe(action)
        term = nodes.term('', '', nodes.literal(written, written))
        return nodes.definition_list_item(
            '', term, nodes.definition('', nodes.paragraph(text=meaning))
        )


class Plugins(SphinxDirective):
    """``{plugins} ROOM``: the docstring of each class that a package of ``beit_mm`` exports."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = import_module(f'beit_mm.{self.arguments[0]}')
        lines = [
            f'.. autoclass:: {module.__name__}.{name}'
            for name, value in sorted(vars(module).items())
            if isinstance(value, type)
            and value.__module__.startswith('beit_mm.')
            and not issubclass(value, Exception)
            and not name.startswith('Base')  # they are on the page of the contracts
        ]
        return self.parse_text_to_nodes('\n'.join(['```{eval-rst}', *lines, '```']))


def leave_out_missing(app, page: str, source: list[str]) -> None:
    """Drop the lines of the front page whose pattern no page fits."""
    if page == app.config.root_doc:
        pages = app.env.found_docs
        source[0] = '\n'.join(
            line
            for line in source[0].splitlines()
            if not line.endswith('*') or ' ' in line or fnmatch.filter(pages, line)
        )


def setup(app) -> dict:
    app.add_directive('cli-verbs', CliVerbs)
    app.add_directive('plugins', Plugins)
    app.connect('source-read', leave_out_missing)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
