"""What the tests with Docker's Python SDK share: a client, and containers that go when a test ends."""

import io
import os
import tarfile
import time
import unittest

import docker

IMAGE = "busybox"
# Which engine is tested; the SDK's low-level client does not look for it.
HOST = os.environ["DOCKER_HOST"]


def new_client():
    return docker.APIClient(base_url=HOST, version="auto", timeout=60)


class EngineTest(unittest.TestCase):
    """DOCKER_HOST says which engine is tested; busybox is there."""

    def setUp(self):
        self.api = new_client()
        self.client = docker.DockerClient(base_url=HOST, version="auto", timeout=60)
        self.addCleanup(self.api.close)
        self.addCleanup(self.client.close)

    def create(self, command, image=IMAGE, **more):
        made = self.api.create_container(image, command, **more)["Id"]
        self.addCleanup(self.remove, made)
        return made

    def start(self, command, **more):
        made = self.create(command, **more)
        self.api.start(made)
        return made

    def run_to_end(self, command, **more):
        """Exit code and everything printed."""
        made = self.start(command, **more)
        code = self.api.wait(made)["StatusCode"]
        return code, self.api.logs(made).decode()

    def remove(self, container):
        try:
            self.api.remove_container(container, force=True, v=True)
        except docker.errors.NotFound:
            pass

    def host(self, **more):
        return self.api.create_host_config(**more)

    def state(self, container):
        return self.api.inspect_container(container)["State"]

    def refused(self, status, text, call, *args, **more):
        with self.assertRaises(docker.errors.APIError) as caught:
            call(*args, **more)
        self.assertEqual(caught.exception.response.status_code, status, caught.exception.explanation)
        self.assertIn(text, str(caught.exception.explanation))
        return caught.exception

    def eventually(self, what, check, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if check():
                return
            time.sleep(0.05)
        self.fail(f"not within {seconds} s: {what}")


def raw(sock):
    """The socket below what the SDK hands out."""
    return getattr(sock, "_sock", sock)


def read_to_end(sock, seconds=10):
    """All that comes until the engine closes."""
    sock = raw(sock)
    sock.settimeout(seconds)
    read = b""
    while True:
        piece = sock.recv(65536)
        if not piece:
            return read
        read += piece


def frames(data):
    """The multiplexed stream as (number, bytes), neighbours of a stream joined."""
    found = []
    while data:
        number, length = data[0], int.from_bytes(data[4:8], "big")
        piece, data = data[8 : 8 + length], data[8 + length :]
        if found and found[-1][0] == number:
            found[-1] = (number, found[-1][1] + piece)
        else:
            found.append((number, piece))
    return found


def archive(files):
    """A tar of name → bytes, or of name → None for a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            if data is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            else:
                entry.size, entry.mode = len(data), 0o640
                tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def members(pieces):
    """Name → content of a tar that comes in pieces; None for what is no file."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        return {m.name: tar.extractfile(m).read() if m.isfile() else None for m in tar.getmembers()}
