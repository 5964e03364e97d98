"""Hostile archives, by every road into the engine. A canary outside of every image must stay as it is."""

import gzip
import io
import os
import tarfile
import tempfile
import threading
import time

import docker

from harness import EngineTest, archive


def evil(canary):
    """Archives that try to write to the canary's folder."""
    folder, inside = os.path.dirname(canary), os.path.relpath(canary, "/")
    up = "../" * 30

    def tar(*entries):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as packed:
            for name, kind, link in entries:
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname, entry.mode = kind, link, 0o666
                content = b"overwritten" if kind == tarfile.REGTYPE else b""
                entry.size = len(content)
                packed.addfile(entry, io.BytesIO(content))
        return out.getvalue()

    file, soft, hard = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
    return {
        "dots": tar((up + inside, file, "")),
        "absolute": tar((canary, file, "")),
        "link then file": tar(("l", soft, folder), ("l/canary", file, "")),
        "relative link then file": tar(("a/l", soft, up + os.path.relpath(folder, "/")), ("a/l/canary", file, "")),
        "link to the file": tar(("f", soft, canary), ("f", file, "")),
        "hard link": tar(("h", hard, canary), ("h", file, "")),
        "hard link by dots": tar(("h", hard, up + inside), ("h", file, "")),
        "whiteout by dots": tar((up + os.path.relpath(folder, "/") + "/.wh.canary", file, "")),
        "whiteout through a link": tar(("l", soft, folder), ("l/.wh.canary", file, "")),
        "opaque through a link": tar(("l", soft, folder), ("l/.wh..wh..opq", file, "")),
        "whiteout of dots": tar((".wh...", file, ""), (".wh..", file, "")),
    }


class Archives(EngineTest):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.canary = os.path.join(folder.name, "canary")
        with open(self.canary, "w") as file:
            file.write("alive")

    def unharmed(self):
        with open(self.canary) as file:
            self.assertEqual(file.read(), "alive")
        self.assertEqual(os.listdir(os.path.dirname(self.canary)), ["canary"])
        self.assertTrue(self.client.ping())

    def by_every_road(self, road):
        for name, data in evil(self.canary).items():
            with self.subTest(name):
                try:
                    road(data)
                except (docker.errors.APIError, docker.errors.ImageLoadError):
                    # A refusal is as good.
                    pass
                self.unharmed()

    def test_import(self):
        self.by_every_road(lambda data: self.api.import_image_from_data(data, repository="attack"))

    def test_copies_in(self):
        made = self.create("true")
        self.by_every_road(lambda data: self.api.put_archive(made, "/tmp", data))

    def test_contexts(self):
        def build(data):
            head = archive({"Dockerfile": b"FROM busybox\nCOPY . /d/\n"})[:1024]
            list(self.api.build(fileobj=io.BytesIO(head + data), custom_context=True, rm=True, decode=True))

        self.by_every_road(build)

    def test_added_archives(self):
        def build(data):
            context = archive({"Dockerfile": b"FROM busybox\nADD evil.tar /\n", "evil.tar": data})
            list(self.api.build(fileobj=io.BytesIO(context), custom_context=True, rm=True, decode=True))

        self.by_every_road(build)

    def test_loaded_layers(self):
        saved = b"".join(self.api.get_image("busybox"))

        def load(data):
            out = io.BytesIO()
            with tarfile.open(fileobj=io.BytesIO(saved)) as old, tarfile.open(fileobj=out, mode="w") as new:
                for entry in old.getmembers():
                    content = old.extractfile(entry).read() if entry.isfile() else b""
                    if entry.name.endswith("layer.tar"):
                        content = data
                    entry.size = len(content)
                    new.addfile(entry, io.BytesIO(content))
            list(self.api.load_image(out.getvalue()))

        self.by_every_road(load)

    def test_contexts_do_not_follow_links_out(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            text = b"FROM busybox\nCOPY l /stolen\nRUN cat /stolen\n"
            entry = tarfile.TarInfo("Dockerfile")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
            link = tarfile.TarInfo("l")
            link.type, link.linkname = tarfile.SYMTYPE, self.canary
            tar.addfile(link)
        told = list(self.api.build(fileobj=io.BytesIO(out.getvalue()), custom_context=True, decode=True, rm=True))
        self.assertNotIn("alive", str(told))
        self.assertIn("error", told[-1])

    def test_a_bomb_takes_no_memory_and_no_room(self):
        entry = tarfile.TarInfo("zeros")
        entry.size = 1 << 60
        bomb = io.BytesIO()
        with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=9) as packed:
            packed.write(entry.tobuf())
            for _ in range(512):
                packed.write(bytes(1 << 20))
        before = self.resident()
        with self.assertRaises(docker.errors.APIError):
            self.api.import_image_from_data(bomb.getvalue(), repository="bomb")
        self.assertLess(self.resident() - before, 64 << 20)
        self.unharmed()

    def resident(self):
        page = self.api.get(self.api.base_url + "/metrics").text
        line = next(line for line in page.splitlines() if line.startswith("process_resident_memory_bytes "))
        return int(line.split()[1])

    def test_copies_survive_exchanged_folders(self):
        folder = os.path.dirname(self.canary)
        script = "mkdir /real; touch /real/canary; while :; do " \
                 f"ln -sfn {folder} /x 2>/dev/null; rm -f /x; mv /real /x 2>/dev/null; mv /x /real 2>/dev/null; done"
        made = self.start(["sh", "-c", script])
        end, data = time.monotonic() + 3, archive({"canary": b"overwritten"})
        seen = []

        def copy_out():
            while time.monotonic() < end:
                try:
                    seen.append(b"".join(self.api.get_archive(made, "/x/canary")[0]))
                except docker.errors.APIError:
                    pass

        reader = threading.Thread(target=copy_out)
        reader.start()
        tries = 0
        while time.monotonic() < end:
            tries += 1
            try:
                docker.APIClient.put_archive(self.client.api, made, "/x", data)
            except docker.errors.APIError:
                pass
        reader.join()
        self.assertGreater(tries, 50)
        self.assertFalse([piece for piece in seen if b"alive" in piece])
        self.unharmed()
