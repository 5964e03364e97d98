"""Attach, exec and logs: no byte lost, every stream ended."""

import socket

from harness import HOST, EngineTest, frames, new_client, raw, read_to_end


class Exec(EngineTest):
    def setUp(self):
        super().setUp()
        self.made = self.start(["sleep", "999"], environment={"X": "1"})

    def exec(self, command, start=None, **more):
        session = self.api.exec_create(self.made, command, **more)
        output = self.api.exec_start(session, **(start or {}))
        return output, self.api.exec_inspect(session)["ExitCode"]

    def test_output_of_short_programs_is_whole(self):
        # The SDK loses what comes in one read with the answer's head; the engine must not send it so.
        for number in range(100):
            self.assertEqual(self.exec(["echo", str(number)]), (f"{number}\n".encode(), 0))
        self.assertEqual(self.exec("echo t", tty=True), (b"t\r\n", 0))

    def test_streams_apart(self):
        both = ["sh", "-c", "echo o; echo e >&2; exit 3"]
        self.assertEqual(self.exec(both, start=dict(demux=True)), ((b"o\n", b"e\n"), 3))
        self.assertEqual(self.exec(both, stdout=False), (b"e\n", 3))
        pieces = self.exec(["sh", "-c", "echo a; sleep 0.2; echo b"], start=dict(stream=True))[0]
        self.assertEqual(b"".join(pieces), b"a\nb\n")

    def test_user_folder_and_environment(self):
        script = ["sh", "-c", "echo $X $Y; id -u; pwd"]
        output, code = self.exec(script, environment={"Y": "2"}, user="nobody", workdir="/tmp")
        self.assertEqual((output, code), (b"1 2\n65534\n/tmp\n", 0))

    def test_failures_are_told_in_the_stream(self):
        output, code = self.exec("nosuchprogram")
        self.assertIn(b"executable file not found in $PATH", output)
        self.assertEqual(code, 127)
        output, code = self.exec("true", user="nouser")
        self.assertEqual((output, code), (b"unable to find user nouser: no matching entries in passwd file\r\n", 126))
        self.refused(400, "No exec command specified", self.api.exec_create, self.made, [])
        self.refused(404, "No such exec instance", self.api.exec_inspect, "nope")

    def test_input_is_ended_without_ending_output(self):
        session = self.api.exec_create(self.made, ["sh", "-c", "cat; echo done"], stdin=True)
        sock = raw(self.api.exec_start(session, socket=True))
        sock.sendall(b"in\n")
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(frames(read_to_end(sock)), [(1, b"in\ndone\n")])
        self.assertEqual(self.api.exec_inspect(session)["ExitCode"], 0)

    def test_detach_keys(self):
        for keys, typed in [(None, b"\x10\x11"), ("ctrl-x", b"\x18")]:
            more = {"detach_keys": keys} if keys else {}
            session = self.api.exec_create(self.made, "cat", stdin=True, tty=True, **more)
            sock = raw(self.api.exec_start(session, socket=True, tty=True))
            sock.sendall(typed)
            read_to_end(sock)
            self.assertTrue(self.api.exec_inspect(session)["Running"])

    def test_one_that_never_began_goes_with_its_container(self):
        ended = self.api.exec_create(self.made, "true")
        self.api.exec_start(ended)
        waiting = self.api.exec_create(self.made, "true")
        self.api.restart(self.made, timeout=0)
        self.assertEqual(self.api.exec_inspect(ended)["ExitCode"], 0)
        self.refused(404, "No such exec instance", self.api.exec_inspect, waiting)
        self.refused(404, "No such exec instance", self.api.exec_start, waiting, detach=True)

    def test_a_detached_one_can_be_asked_about(self):
        session = self.api.exec_create(self.made, ["sh", "-c", "exit 5"])
        self.api.exec_start(session, detach=True)
        self.eventually("ended", lambda: self.api.exec_inspect(session)["ExitCode"] == 5)


class Attach(EngineTest):
    def test_before_the_start(self):
        made = self.create(["sh", "-c", "echo out; echo err >&2; cat"], stdin_open=True)
        sock = raw(self.api.attach_socket(made, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}))
        self.api.start(made)
        sock.sendall(b"in\n")
        sock.shutdown(socket.SHUT_WR)
        seen = frames(read_to_end(sock))
        joined = {n: b"".join(piece for m, piece in seen if m == n) for n, _ in seen}
        self.assertEqual(joined, {1: b"out\nin\n", 2: b"err\n"})

    def test_detach_keys(self):
        made = self.start("cat", stdin_open=True, tty=True)
        for keys, typed in [({}, b"\x10\x11"), ({"detachKeys": "ctrl-x"}, b"\x18"), ({"detachKeys": "a,b"}, b"ab")]:
            sock = raw(self.api.attach_socket(made, {"stdin": 1, "stdout": 1, "stream": 1, **keys}))
            sock.sendall(typed)
            read_to_end(sock)
            self.assertTrue(self.state(made)["Running"])
        keys = {"stdin": 1, "stream": 1, "detachKeys": "bad-key"}
        refused = self.refused(400, "(bad-key) provided", self.api.attach_socket, made, keys)
        self.assertEqual(refused.response.content, b"Invalid detach keys (bad-key) provided\r\n")

    def test_a_terminal_has_the_size_it_is_given(self):
        made = self.start(["sh", "-c", "while [ \"$(stty size)\" != '20 40' ]; do sleep 0.1; done"], tty=True)
        self.api.resize(made, 20, 40)
        self.assertEqual(self.api.wait(made)["StatusCode"], 0)

    def test_by_websocket(self):
        made = self.start(["sh", "-c", "echo begun; cat"], stdin_open=True)
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.settimeout(20)
        sock.connect(HOST.removeprefix("unix://"))
        head = [
            f"GET /v1.41/containers/{made}/attach/ws?stream=1&logs=1 HTTP/1.1",
            "Host: engine",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]
        sock.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += sock.recv(1)
        self.assertTrue(seen.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"), seen)
        self.assertIn(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", seen)

        def message():
            first, length = sock.recv(2)
            return first, b"".join(sock.recv(1) for _ in range(length))

        self.assertEqual(message(), (0x82, b"begun\n"))
        mask, text = b"\1\2\3\4", b"typed\n"
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
        sock.sendall(bytes([0x81, 0x80 | len(text)]) + mask + masked)
        self.assertEqual(message(), (0x82, text))
        self.api.kill(made)
        self.assertEqual(message(), (0x88, b"\x03\xe8"))
        self.assertEqual(sock.recv(1), b"")

    def test_a_websocket_to_nothing(self):
        answer = self.api.get(self.api.base_url + "/v1.41/containers/nope/attach/ws")
        self.assertEqual((answer.status_code, answer.json()), (404, {"message": "No such container: nope"}))

    def test_replay_without_stream(self):
        made = self.start("echo hello")
        self.api.wait(made)
        self.assertEqual(self.api.attach(made, stream=False, logs=True), b"hello\n")


class Logs(EngineTest):
    def test_what_is_asked_for(self):
        made = self.start(["sh", "-c", "echo a; echo b; echo c >&2; printf d"])
        self.api.wait(made)
        logs = lambda **more: self.api.logs(made, **more)
        self.assertEqual(logs(stderr=False), b"a\nb\nd")
        self.assertEqual(logs(stdout=False), b"c\n")
        self.assertEqual((logs(tail=0), logs(until=1)), (b"", b""))
        self.assertEqual(len(logs(tail=2).splitlines()), 2)
        self.assertRegex(logs(timestamps=True).decode(), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z a\n")
        self.refused(400, "you must choose at least one stream", self.api.logs, made, stdout=False, stderr=False)

    def test_following_ends_with_the_container(self):
        made = self.start(["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"])
        self.assertEqual(b"".join(self.api.logs(made, stream=True, follow=True)), b"1\n2\n3\n")

    def test_many_followers_do_not_stop_the_engine(self):
        made = self.start("sleep 999")
        clients = [new_client() for _ in range(40)]
        streams = [client.logs(made, stream=True, follow=True) for client in clients]
        self.assertEqual(self.run_to_end("echo still here"), (0, "still here\n"))
        self.api.kill(made)
        self.assertEqual([list(stream) for stream in streams], [[]] * 40)
        for client in clients:
            client.close()

    def test_no_log_cannot_be_read(self):
        from docker.types import LogConfig

        made = self.start("true", host_config=self.host(log_config=LogConfig(type="none")))
        self.refused(501, "does not support reading", self.api.logs, made)
