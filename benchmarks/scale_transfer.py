"""Bytes between two processes; the task ``transfer`` of ``benchmarks/scale.py``."""

import multiprocessing
import pickle
import socket

import numpy as np

from .timing import each

# Of this process, as a new one would take longer to import all than to answer.
_CONTEXT = multiprocessing.get_context("fork")


def transfer(n):
    """Bytes a second, and seconds of a small message, between two processes."""
    figures = {}
    blocks = {
        "1024 paths": [f"/data/pictures/{i:09}.jpg" for i in range(1024)],
        "1024 x 288 features": np.zeros((1024, 288), np.float32),
        "64 pictures, 128 px": np.zeros((64, 128, 128, 3), np.uint8),
    }
    n_times = min(n, 200)
    for name, block in blocks.items():
        content = pickle.dumps(block, protocol=5)
        figures[f"bytes: pickle of {name}"] = len(content)
        figures[f"microseconds: pickle and back, {name}"] = 1e6 * each(
            lambda some, b=block: [pickle.loads(pickle.dumps(b, protocol=5)) for _ in some],
            range(n_times),
        )
        for kind, there_and_back in (("pipe", _by_pipe), ("socket", _by_socket)):
            took = there_and_back(content, n_times)
            figures[f"megabytes a second: {kind}, {name}"] = len(content) / took / 1e6
    figures["microseconds: 100 bytes by a socket"] = 1e6 * _by_socket(bytes(100), n_times)
    return figures


def _answer_pipe(pipe):
    while pipe.recv_bytes():
        pipe.send_bytes(b"!")


def _by_pipe(content, n_times):
    """Seconds to send bytes to a process, and have a word back."""
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_answer_pipe, args=(theirs,))
    process.start()

    def send(some):
        for _ in some:
            ours.send_bytes(content)
            ours.recv_bytes()

    took = each(send, range(n_times))
    ours.send_bytes(b"")
    process.join()
    return took


def _answer_socket(place, size):
    with socket.create_connection(place) as link:
        while received := link.recv(min(size, 2**20)):
            left = size - len(received)
            while left:
                left -= len(link.recv(min(left, 2**20)))
            link.sendall(b"!")


def _by_socket(content, n_times):
    """The same by a socket of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = _CONTEXT.Process(target=_answer_socket, args=(server.getsockname(), len(content)))
        process.start()
        link, _ = server.accept()

    def send(some):
        for _ in some:
            link.sendall(content)
            link.recv(1)

    with link:
        took = each(send, range(n_times))
    process.join()
    return took
