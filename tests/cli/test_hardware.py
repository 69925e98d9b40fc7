"""How a chain chooses threads and precision, and keeps what it chose."""

import pytest

from beit_mm.cli import hardware
from beit_mm.cli.hardware import Hardware, choose_hardware, fastest


@pytest.mark.parametrize(
    ('one', 'two', 'one_amp', 'two_amp', 'best'),
    [
        (1.0, 0.6, 0.9, 0.5, Hardware(2, True)),
        (1.0, 0.6, 3.0, 2.0, Hardware(2, False)),  # no units for bfloat16
        (1.0, 0.95, 0.5, 0.48, Hardware(1, True)),  # another thread is worth more elsewhere
        (1.0, 9.0, 0.95, 8.0, Hardware(1, False)),  # a busy core
    ],
)
def test_fastest__takes_more_for_a_gain_alone(one, two, one_amp, two_amp, best):
    times = {(1, False): one, (2, False): two, (1, True): one_amp, (2, True): two_amp}
    assert fastest({Hardware(*choice): time for choice, time in times.items()}) == best


def test_choice__is_measured_once(tmp_path, monkeypatch):
    path = tmp_path / 'new' / 'hardware.json'
    monkeypatch.setattr(hardware.torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(hardware, 'measured', lambda: {Hardware(2, True): 1.0})
    assert choose_hardware(path) == Hardware(2, True)
    monkeypatch.setattr(hardware, 'measured', lambda: {Hardware(1, False): 1.0})
    assert choose_hardware(path) == Hardware(2, True)
    path.write_text(path.read_text()[:9])  # cut off
    assert choose_hardware(path) == Hardware(1, False)


def test_measured__each_choice_on_as_many_threads_as_torch_has():
    times = hardware.measured()  # tests have one
    assert [*times] == [Hardware(1, False), Hardware(1, True)]
    assert all(time > 0 for time in times.values())
