import subprocess

import pytest

from benchmarks import compare_revisions

WRITES = 'python -c open("{out}","w").write(open("figure.json").read())'


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two commits whose benchmark tells 2 and 3."""
    root = tmp_path / 'repository'
    root.mkdir()
    monkeypatch.setattr(compare_revisions, 'ROOT', root)
    user = ['-c', 'user.name=a', '-c', 'user.email=a@b.c']
    subprocess.run(['git', 'init', '-q'], cwd=root, check=True)
    for value in (2, 3):
        (root / 'figure.json').write_text(f'{{"rows": [{{"seconds": {value}, "name": "a"}}]}}')
        subprocess.run(['git', 'add', '.'], cwd=root, check=True)
        subprocess.run(['git', *user, 'commit', '-qm', str(value)], cwd=root, check=True)
    return root


def test_compare__the_numbers_of_each_revision_and_nothing_is_left(repository):
    rows = compare_revisions.compare(['HEAD~1', 'HEAD'], WRITES.split(' ', 2), rounds=2)
    assert rows == [('rows.0.seconds', 2, 3, 1.5)]
    trees = subprocess.run(
        ['git', 'worktree', 'list'], cwd=repository, capture_output=True, text=True
    )
    assert len(trees.stdout.splitlines()) == 1
