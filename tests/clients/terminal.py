"""Drives a program of the terminal by its keys, as a person at a screen would."""

import os
import pty
import select
import signal
import sys
import time

from common import PATIENCE


def drive(command, home, steps):
    """Runs `command` in a pseudo-terminal until it ends. Each of `steps` is what the screen must show next and the keys
    to press then, or a function that gives them. Fails if it does not end well or steps are left."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="vt100", HOME=home, LINES="24", COLUMNS="80", LC_ALL="C.UTF-8")
        os.execvp(command[0], command)
    steps, screen, shown = list(steps), b"", b""
    deadline = time.monotonic() + 4 * PATIENCE
    while True:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            sys.exit(f"{command[0]} did not end; left to do: {steps}; its screen:\n{screen!r}")
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the program has ended
            break
        if not data:
            break
        screen += data
        shown += data
        if steps and steps[0][0] in shown:
            keys = steps.pop(0)[1]
            os.write(terminal, keys() if callable(keys) else keys)
            shown = b""
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, screen
    assert not steps, (steps, screen)
    return screen
