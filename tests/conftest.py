"""What every test relies on: a suite that is started in the background, or by nohup, interrupts its children all the
same. A shell has such a process ignore SIGINT or SIGHUP, and its children would, too."""

from __future__ import annotations

import signal

for one, usual in (("SIGINT", signal.default_int_handler), ("SIGTERM", signal.SIG_DFL), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, one) and signal.getsignal(getattr(signal, one)) == signal.SIG_IGN:
        signal.signal(getattr(signal, one), usual)
