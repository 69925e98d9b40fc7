"""Pages in docs/ and the README: short lines, messages, verbs and paths that exist."""

import ast
import re
from pathlib import Path

import pages
import pytest

from beit_mm.cli.main import VERBS

ROOT = pages.ROOT
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
every_page = pytest.mark.parametrize('path', PAGES, ids=lambda path: path.name)


def said_by(folder: Path) -> str:
    """Return all text in the strings of a package, what varies as '...'."""
    found = []
    for path in folder.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [getattr(part, 'value', None) for part in node.values]
                found.append(''.join(p if isinstance(p, str) else '...' for p in parts))
    return '\n'.join(found)


def anchors(path: Path) -> set[str]:
    """Return the names of the headings of a page, as links to them are written."""
    headings = re.findall(r'^#+ (.*)$', path.read_text(encoding='utf-8'), re.M)
    return {re.sub(r'[^\w -]', '', heading).lower().replace(' ', '-') for heading in headings}


@every_page
def test_prose__has_short_lines(path):
    prose = pages.BLOCK.sub('', path.read_text(encoding='utf-8'))
    lines = [line for line in prose.splitlines() if not line.startswith(('|', '!', '<!--'))]
    assert [line for line in lines if len(line) > 120] == []


@every_page
def test_commands__are_verbs(path):
    text = path.read_text(encoding='utf-8')
    verbs = set(re.findall(r'(?:^|`|bin/)beit-mm ([a-z][\w-]*)', text, re.M))
    assert verbs <= set(VERBS)


@every_page
def test_paths__exist(path):
    text = path.read_text(encoding='utf-8')
    for name in re.findall(r'`((?:tools|configs|beit_mm|docs|tests)/[\w./-]+\.\w+)`', text):
        is_elsewhere = 'my' in name or path.name == 'migration.md'  # yours, or those of mmpretrain
        assert (ROOT / name).exists() or is_elsewhere, name


def test_readme__is_short_and_its_links_exist():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert len(text.splitlines()) <= 120
    for name in ('README.md', 'CHANGELOG.md', 'CONTRIBUTING.md'):  # the site checks its pages
        links = re.findall(r'\]\((?!http)([^)#]+)#?([^)]*)', (ROOT / name).read_text())
        for target, anchor in links:
            assert (ROOT / target).exists(), f'{name} links to {target}'
            assert not anchor or anchor in anchors(ROOT / target), f'{name}: {target}#{anchor}'


def test_code__names_pages_that_exist():
    for folder in ('beit_mm', 'configs', 'tools', 'benchmarks'):
        for path in (ROOT / folder).rglob('*.py'):
            for name in re.findall(r'docs/[\w/]+\.md', path.read_text()):
                assert (ROOT / name).is_file(), f'{path} names {name}'


def test_troubleshooting__quotes_messages_of_the_code():
    said = said_by(ROOT / 'beit_mm') + (ROOT / 'tools/setup_env.sh').read_text()
    rows = re.findall(r'^\| (.*?) \|', pages.read('troubleshooting.md'), re.M)
    messages = [m for row in rows if 'of torch' not in row for m in re.findall(r'`([^`]+)`', row)]
    parts = [part.strip() for message in messages for part in message.split('...')]
    long = [part for part in parts if len(part) > 11]
    assert len(long) > 40
    assert [part for part in long if part not in said] == []
