"""Images, builds and copies."""

import http.server
import io
import threading

import docker

from harness import EngineTest, archive, members


class Images(EngineTest):
    def test_commit_merges_the_client_first(self):
        made = self.start(["sh", "-c", "echo c >/c"], environment={"A": "1"})
        self.api.wait(made)
        self.api.commit(
            made,
            repository="sdk-commit",
            tag="t",
            message="msg",
            author="me",
            changes=["ENV Z=1", 'CMD ["x"]'],
            conf={"Labels": {"a": "b"}},
        )
        self.addCleanup(self.api.remove_image, "sdk-commit:t", force=True)
        found = self.api.inspect_image("sdk-commit:t")
        config = found["Config"]
        self.assertEqual((found["Comment"], found["Author"], config["Cmd"]), ("msg", "me", ["x"]))
        self.assertEqual((config["Labels"], config["Env"][0]), ({"a": "b"}, "Z=1"))
        self.assertIn("A=1", config["Env"])
        refuse = lambda change: self.refused(400, "is not a valid change command", self.api.commit, made, changes=[change])
        refuse("FOO bar")
        refuse("RUN x")
        child = self.create("true", image="sdk-commit:t")
        self.refused(409, "is using its referenced image", self.api.remove_image, "sdk-commit:t")
        self.remove(child)

    def test_save_and_load(self):
        saved = b"".join(self.api.get_image("busybox"))
        image = self.client.images.load(saved)[0]
        self.assertIn("busybox:latest", image.tags)

    def test_history_gives_each_step_its_own_size(self):
        text = b"FROM busybox\nRUN head -c 50000 /dev/zero >/a\nENV x=y\nRUN head -c 90000 /dev/zero >/b\n"
        image, _ = self.client.images.build(fileobj=io.BytesIO(text), tag="sdk-history", rm=True)
        self.addCleanup(self.api.remove_image, "sdk-history", force=True)
        sizes = [(line["CreatedBy"], line["Size"]) for line in image.history()[:3]]
        self.assertEqual([size for _, size in sizes], [90000, 0, 50000], sizes)

    def test_tags(self):
        self.assertTrue(self.api.tag("busybox", "sdk/tagged", "t1"))
        self.api.remove_image("sdk/tagged:t1")
        self.refused(400, "refusing to create a tag with a digest", self.api.tag, "busybox", "x@sha256:" + "0" * 64)
        self.refused(404, "No such image", self.api.tag, "nope", "x")

    def test_registries_that_are_not_there(self):
        for call in (self.api.inspect_distribution, self.client.images.pull):
            self.refused(500, "127.0.0.1:1", call, "127.0.0.1:1/nope")


class Build(EngineTest):
    def build(self, text, files=None, **more):
        """What was told, as one text, and the last object."""
        context = archive({"Dockerfile": text.encode(), **(files or {})})
        told = list(
            self.api.build(fileobj=io.BytesIO(context), custom_context=True, decode=True, rm=True, **more)
        )
        return "".join(piece.get("stream", "") for piece in told), told[-1]

    def test_steps_and_cache(self):
        text = "FROM busybox\nARG WHO\nRUN echo hi $WHO; echo err >&2\nCOPY f /d/\nLABEL a=b\n"
        more = dict(files={"f": b"x"}, tag="sdk-build", buildargs={"WHO": "you"}, labels={"l": "v"})
        self.addCleanup(self.api.remove_image, "sdk-build", force=True)
        told, last = self.build(text, nocache=True, **more)
        for expected in ("Step 1/6 : FROM busybox\n", "hi you\n", "\x1b[91merr\n\x1b[0m", " ---> Running in "):
            self.assertIn(expected, told)
        self.assertEqual(last["stream"], "Successfully tagged sdk-build:latest\n")
        self.assertEqual(self.api.inspect_image("sdk-build")["Config"]["Labels"], {"a": "b", "l": "v"})
        told, _ = self.build(text, **more)
        self.assertEqual(told.count(" ---> Using cache\n"), 5)

    def test_only_named_images_are_cache_when_some_are_named(self):
        text = "FROM busybox\nENV A=b\nRUN touch /cachefrom\n"
        self.build(text, tag="sdk-cache")
        self.addCleanup(self.api.remove_image, "sdk-cache", force=True)
        told, _ = self.build(text, cache_from=["sdk-cache"])
        self.assertEqual(told.count("Using cache"), 2)
        told, _ = self.build(text, cache_from=["nosuchimage"])
        self.assertEqual(told.count("Using cache"), 0)

    def test_failures(self):
        _, last = self.build("FROM busybox\nRUN exit 5\n", nocache=True)
        self.assertEqual(last["errorDetail"], {"code": 5, "message": last["error"]})
        self.assertIn("returned a non-zero code: 5", last["error"])
        _, last = self.build("FROM busybox\nCOPY nope /\n")
        self.assertIn("file not found in build context or excluded by .dockerignore", last["error"])
        with self.assertRaises(docker.errors.BuildError):
            self.client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 3\n"))
        self.refused(400, "unknown instruction: FOO", self.build, "FOO x\n")
        self.refused(400, "unknown operating system or architecture", self.build, "FROM busybox\n", platform="foobar")

    def test_networks_and_hosts_of_steps(self):
        told, _ = self.build("FROM busybox\nRUN cat /etc/hosts\n", extra_hosts={"hello.test": "127.0.0.9"}, nocache=True)
        self.assertIn("127.0.0.9\thello.test", told)
        told, _ = self.build("FROM busybox\nRUN ls /sys/class/net\n", network_mode="none", nocache=True)
        self.assertNotIn("eth0", told)

    def test_add_of_urls(self):
        """The engine runs where the test runs, so it can reach the test's server."""

        class Files(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                found = self.path != "/missing"
                self.send_response(200 if found else 404)
                self.send_header("Last-Modified", "Sun, 09 Sep 2001 01:46:40 GMT")
                self.end_headers()
                self.wfile.write(b"fetched\n" if found else b"not here")

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Files)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        base = f"http://127.0.0.1:{server.server_port}"
        text = f"FROM busybox\nADD {base}/a.txt /d/\nRUN cat /d/a.txt; stat -c '%a %Y' /d/a.txt\n"
        told, _ = self.build(text, nocache=True)
        self.assertIn("fetched\n600 1000000000\n", told)
        _, last = self.build(f"FROM busybox\nADD {base}/missing /d/\n")
        self.assertIn(f"ADD failed: failed to GET {base}/missing with status 404 Not Found: not here", last["error"])
        _, last = self.build(f"FROM busybox\nADD {base}/ /d/\n")
        self.assertIn("cannot determine filename for source", last["error"])


class Copies(EngineTest):
    def test_in_and_out(self):
        made = self.create(["cat", "/vol/f"], volumes=["/vol"])
        self.assertTrue(self.api.put_archive(made, "/vol", archive({"f": b"data", "d": None})))
        pieces, stat = self.api.get_archive(made, "/vol/f")
        self.assertEqual((stat["name"], stat["size"], stat["mode"], stat["linkTarget"]), ("f", 4, 0o640, ""))
        self.assertEqual(members(pieces), {"f": b"data"})
        self.assertEqual(set(members(self.api.get_archive(made, "/vol")[0])), {"vol", "vol/d", "vol/f"})
        self.assertEqual(set(members(self.api.get_archive(made, "/vol/.")[0])), {".", "./d", "./f"})
        self.assertEqual(self.api.get_archive(made, "/bin/sh")[1]["linkTarget"], "/bin/busybox")
        self.api.start(made)
        self.api.wait(made)
        self.assertEqual(self.api.logs(made), b"data")

    def test_names_in_archives(self):
        script = "mkdir -p /bar/quux; echo x >/bar/quux/baz; ln -s quux /bar/dir; ln -s / /bar/root; ln -s no /bar/no"
        made = self.start(["sh", "-c", script])
        self.api.wait(made)

        names = lambda path: sorted(members(self.api.get_archive(made, path)[0]))
        for path, found in [
            ("/bar/quux", ["quux", "quux/baz"]),
            ("bar/quux/.", [".", "./baz"]),
            ("bar/dir", ["dir"]),
            ("bar/dir/", ["dir", "dir/baz"]),
            ("/bar/no", ["no"]),
        ]:
            self.assertEqual(names(path), found, path)
        for path, name, prefix in [("/", "/", "/"), (".", ".", "./"), ("/./", ".", "./"), ("/bar/..", "/", "/")]:
            pieces, stat = self.api.get_archive(made, path)
            self.assertEqual(stat["name"], name, path)
            self.assertIn(prefix + "bar/quux/baz", members(pieces), path)
        self.assertIn("root/bar/quux/baz", names("/bar/root/"))
        for path in ("/bar/quux/baz/", "/bar/quux/baz/x"):
            self.refused(500, "not a directory", self.api.get_archive, made, path)
        self.refused(404, "Could not find the file", self.api.get_archive, made, "/bar/no/")

    def test_whose_files_are(self):
        made = self.start("sleep 99", user="nobody")
        url = f"{self.api.base_url}/containers/{made}/archive"
        for more, owner in [({}, b"0 0\n"), ({"copyUIDGID": "true"}, b"65534 65534\n")]:
            answer = self.api.put(url, params={"path": "/tmp", **more}, data=archive({"f": b"x"}))
            self.assertEqual(answer.status_code, 200, answer.text)
            session = self.api.exec_create(made, ["stat", "-c", "%u %g", "/tmp/f"])
            self.assertEqual(self.api.exec_start(session), owner)

    def test_no_link_leads_into_what_is_read_only(self):
        made = self.start(["sh", "-c", "ln -s /etc /v/out; sleep 99"], host_config=self.host(read_only=True, binds=["sdk-cp:/v"]))
        self.addCleanup(self.api.remove_volume, "sdk-cp", force=True)
        self.addCleanup(self.remove, made)
        put, file = self.api.put_archive, archive({"f": b"x"})
        self.eventually("linked", lambda: self.api.diff(made) is not None and put(made, "/v", file))
        self.refused(403, "container rootfs is marked read-only", put, made, "/v/out", file)

    def test_refusals(self):
        made = self.create("true", host_config=self.host(binds=["/tmp:/ro:ro"]))
        put, file = self.api.put_archive, archive({"f": b"x"})
        self.refused(404, "Could not find the file /nope in container", put, made, "/nope", file)
        self.refused(404, "Could not find the file /nope", self.api.get_archive, made, "/nope")
        self.refused(400, "extraction point is not a directory", put, made, "/etc/passwd", file)
        self.refused(403, "mounted volume is marked read-only", put, made, "/ro", file)

    def test_diff(self):
        made = self.start(["sh", "-c", "echo x >/new; rm /etc/group; mkdir /d"])
        self.api.wait(made)
        found = {change["Path"]: change["Kind"] for change in self.api.diff(made)}
        self.assertEqual(found, {"/new": 1, "/etc": 0, "/etc/group": 2, "/d": 1})
