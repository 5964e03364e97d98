"""Plays a person at a terminal: runs a command on a pty of 30 rows and 100 columns.

Arguments are pairs: a text to wait for, and what to type once it has come. Prints all that was shown, and
the exit code in brackets.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

LIMIT_S = 60


def main():
    command, steps = sys.argv[1], sys.argv[2:]
    child, master = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        os.execvp("sh", ["sh", "-c", command])
    shown, seen, end = b"", 0, time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        if steps and steps[0].encode() in shown[seen:]:
            seen = len(shown)
            os.write(master, steps[1].encode().decode("unicode_escape").encode("latin-1"))
            del steps[:2]
        if not select.select([master], [], [], 0.1)[0]:
            continue
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    sys.stdout.write(shown.decode(errors="replace").replace("\r\n", "\n"))
    if time.monotonic() >= end:
        os.kill(child, 9)
    print("[%d]" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


main()
