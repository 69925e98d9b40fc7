import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from beit_mm import __version__
from beit_mm.cli.main import VERBS, run_verb

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('verb', VERBS)
def test_verbs__have_a_main_and_a_thin_tool(verb):
    module = VERBS[verb][0]
    assert callable(importlib.import_module(f'beit_mm.cli.{module}').main)
    tools = [path.read_text() for path in (ROOT / 'tools').rglob('*.py')]
    assert any(f'from beit_mm.cli.{module} import main' in text for text in tools)


def test_help__lists_all_verbs(capsys):
    run_verb([])
    shown = capsys.readouterr().out
    assert all(f'\n  {verb} ' in shown for verb in VERBS)
    with pytest.raises(SystemExit, match='0'):
        run_verb(['check-config', '--help'])
    assert capsys.readouterr().out.startswith('usage: beit-mm check-config ')
    run_verb(['--version'])
    assert capsys.readouterr().out == f'beit_mm {__version__}\n'


def test_unknown_verb(capsys):
    with pytest.raises(SystemExit, match='2'):
        run_verb(['embd'])
    captured = capsys.readouterr()
    assert "no verb 'embd'" in captured.err and captured.out == ''


def test_no_tool_hides_a_module_that_python_needs():
    """Python looks for modules beside a script first: tools/tokenize.py would break all of them."""
    names = {path.stem for path in (ROOT / 'tools').rglob('*.py')}
    assert names & sys.stdlib_module_names == set()


def test_errors_of_the_user__are_a_line(tmp_path):
    code = 'from beit_mm.cli.main import main; main()'
    done = subprocess.run(
        [sys.executable, '-c', code, 'describe', str(tmp_path / 'none.pth')],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ''
    assert done.stderr.splitlines()[-1].startswith('error: There is no checkpoint')
    assert 'Traceback' not in done.stderr


ENDS = dict(help='[]', file="['print-config', 'FILE']")


@pytest.mark.parametrize('arguments', ENDS.values(), ids=ENDS)
def test_output_that_nobody_reads__ends_the_program_without_a_traceback(tmp_path, arguments):
    config = tmp_path / 'a.py'
    config.write_text('\n'.join(f'a{n} = {"x" * 200!r}' for n in range(2000)))  # more than a pipe
    arguments = arguments.replace('FILE', str(config))
    code = f'import sys; sys.argv[1:] = {arguments}; from beit_mm.cli.main import main; main()'
    program = subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    program.stdout.close()
    assert program.stderr.read() == '' and program.wait() == 1


def test_another_pipe_that_breaks__keeps_its_traceback():
    code = (
        'from beit_mm.cli.run_tool import run_tool\n'
        'def main(): raise BrokenPipeError("of a worker")\n'
        'run_tool(main)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'BrokenPipeError: of a worker' in done.stderr and done.returncode == 1


@pytest.mark.parametrize('closed', ['>&-', '2>&-', '>&- 2>&-', '<&- >&- 2>&-'])
@pytest.mark.parametrize(('code', 'status'), [('print(1)', 0), ('raise SystemExit(75)', 75)])
def test_program_without_output__ends_with_its_own_status(tmp_path, closed, code, status):
    code = (
        f"import sys\nfrom beit_mm.cli.run_tool import run_tool\nrun_tool(lambda: exec('{code}'))"
    )
    (tmp_path / 'a.py').write_text(code)
    done = subprocess.run(f'exec {sys.executable} {tmp_path / "a.py"} {closed}', shell=True)
    assert done.returncode == status


def test_interrupt__ends_the_program_in_a_word():
    code = (
        'from beit_mm.cli.run_tool import run_tool\n'
        'def main(): raise KeyboardInterrupt\n'
        'run_tool(main)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (130, 'interrupted')
