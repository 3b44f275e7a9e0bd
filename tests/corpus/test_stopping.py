"""Two signals, one exception; the second signal does nothing; the handlers are given back."""

import os
import signal

import pytest

from tinydistil.corpus.stopping import Stopped, stopping


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_becomes_an_exception(number: signal.Signals, code: int) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Stopped) as stopped, stopping():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), signal.SIGINT)  # while cleaning up
            os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.exit_code == code and str(stopped.value) == number.name
    assert not isinstance(stopped.value, Exception)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
