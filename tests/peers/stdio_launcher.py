"""Stands in for a Python interpreter: hands its arguments, environment and standard streams to `peers.preforked`.

    python -I -S stdio_launcher.py SOCKET [ARGUMENT...]

Imports next to nothing, so that starting a server costs milliseconds. It ends when the server ends.
"""

import marshal
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    request = marshal.dumps((sys.argv[2:], dict(os.environ)))
    socket.send_fds(connection, [len(request).to_bytes(4, "big") + request], [0, 1, 2])
    while connection.recv(1):
        pass
