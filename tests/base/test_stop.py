"""Two signals, one exception; the second signal does nothing; the handlers are given back."""

import os
import signal

import pytest

from tinydistil.base.errors import Stopped, stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_becomes_an_exception(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Stopped) as stopped, stopping():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), signal.SIGINT)  # while cleaning up
            os.kill(os.getpid(), signal.SIGTERM)
    assert str(stopped.value) == number.name
    assert not isinstance(stopped.value, Exception)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
