"""Containers from create to remove, as the SDK's users see them."""

import time

import docker
from docker.types import Healthcheck, LogConfig, Mount, Ulimit

from harness import EngineTest


class Life(EngineTest):
    def test_a_killed_container_is_dead_when_kill_returns(self):
        made = self.start(["sleep", "999"])
        self.api.kill(made)
        state = self.state(made)
        self.assertEqual((state["Running"], state["ExitCode"]), (False, 137))
        self.refused(409, "is not running", self.api.exec_create, made, "true")
        # Its files are there all the same.
        self.assertTrue(self.api.commit(made)["Id"])

    def test_wait_has_both_fields(self):
        made = self.start(["sh", "-c", "exit 7"])
        self.assertEqual(self.api.wait(made), {"Error": None, "StatusCode": 7})

    def test_wait_for_removal_of_one_that_removes_itself(self):
        made = self.start(["sleep", "1"], host_config=self.host(auto_remove=True))
        self.assertEqual(self.api.wait(made, condition="removed")["StatusCode"], 0)
        with self.assertRaises(docker.errors.NotFound):
            self.api.inspect_container(made)

    def test_restart_policies(self):
        tries = {"Name": "on-failure", "MaximumRetryCount": 2}
        failing = self.start("false", host_config=self.host(restart_policy=tries))
        ended = lambda: self.state(failing)["Status"] == "exited"
        self.eventually("two tries", lambda: ended() and self.api.inspect_container(failing)["RestartCount"] == 2)
        always = self.start(["sleep", "0.2"], host_config=self.host(restart_policy={"Name": "always"}))
        self.eventually("restarted", lambda: self.api.inspect_container(always)["RestartCount"] > 0)
        self.refused(409, "You cannot remove a", self.api.remove_container, always)
        self.api.stop(always, timeout=1)
        self.assertEqual(self.state(always)["Status"], "exited")

    def test_pause_holds_everything_off(self):
        made = self.start(["sleep", "999"])
        self.api.pause(made)
        self.assertTrue(self.state(made)["Paused"])
        self.refused(409, "is paused, unpause the container before exec", self.api.exec_create, made, "true")
        self.refused(409, "already paused", self.api.pause, made)
        self.api.unpause(made)
        self.assertFalse(self.state(made)["Paused"])

    def test_health(self):
        every = dict(interval=300_000_000, retries=1)
        fine = self.start("sleep 99", healthcheck=Healthcheck(test=["CMD-SHELL", "echo ok"], **every))
        ill = self.start("sleep 99", healthcheck=Healthcheck(test="exit 1", **every))
        status = lambda made: self.state(made)["Health"]["Status"]
        self.eventually("healthy", lambda: status(fine) == "healthy")
        self.eventually("unhealthy", lambda: status(ill) == "unhealthy")
        log = self.state(fine)["Health"]["Log"][0]
        self.assertEqual((log["ExitCode"], log["Output"]), (0, "ok\n"))
        self.assertIn("(healthy)", self.api.containers(filters={"id": fine})[0]["Status"])

    def test_update(self):
        made = self.start("sleep 99", host_config=self.host(mem_limit="64m"))
        self.api.update_container(made, mem_limit="32m", memswap_limit="64m", cpu_shares=100)
        config = self.api.inspect_container(made)["HostConfig"]
        self.assertEqual((config["Memory"], config["MemorySwap"], config["CpuShares"]), (32 << 20, 64 << 20, 100))
        self.refused(409, "already set memoryswap limit", self.api.update_container, made, mem_limit="512m")

    def test_update_of_the_number_of_processes(self):
        made = self.start("sleep 99", host_config=self.host(pids_limit=50))
        for said, shown in [(20, 20), (0, 0), (-1, 0), (-2, 0)]:
            answer = self.api.post(f"{self.api.base_url}/v1.40/containers/{made}/update", json={"PidsLimit": said})
            self.assertEqual(answer.status_code, 200, answer.text)
            self.assertEqual(self.api.inspect_container(made)["HostConfig"]["PidsLimit"], shown)
        self.api.post(f"{self.api.base_url}/v1.39/containers/{made}/update", json={"PidsLimit": 9})
        self.assertEqual(self.api.inspect_container(made)["HostConfig"]["PidsLimit"], 0)

    def test_updates_that_contradict(self):
        made = self.create("true", host_config=self.host(nano_cpus=500_000_000))
        told = "CPU Period cannot be updated as NanoCPUs has already been set"
        self.refused(409, told, self.api.update_container, made, cpu_period=100000)

    def test_top_and_stats(self):
        made = self.start("sleep 60")
        top = self.api.top(made)
        self.assertEqual(top["Titles"], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"])
        self.assertEqual(top["Processes"][0][-1], "sleep 60")
        once = self.api.stats(made, stream=False)
        for key in ("read", "preread", "networks", "memory_stats", "blkio_stats", "cpu_stats", "precpu_stats"):
            self.assertIn(key, once)
        stream = self.api.stats(made, decode=True)
        self.assertEqual(len([next(stream), next(stream)]), 2)
        stream.close()

    def test_lists_and_filters(self):
        up = self.start("sleep 99", name="list-up", labels={"set": "list"}, ports=[80])
        self.start("true", name="list-down", labels={"set": "list", "down": ""}, ports=[80])
        self.eventually("down", lambda: self.state("list-down")["Status"] == "exited")

        def names(**more):
            found = self.api.containers(all=True, **more)
            return sorted(c["Names"][0] for c in found if c["Labels"].get("set") == "list")

        self.assertEqual(names(), ["/list-down", "/list-up"])
        self.assertEqual(names(filters={"status": "running"}), ["/list-up"])
        self.assertEqual(names(filters={"label": ["set=list", "down"]}), ["/list-down"])
        self.assertEqual(names(filters={"name": "^/list-u"}), ["/list-up"])
        self.assertEqual(names(filters={"expose": "70-90"}), ["/list-up"])
        self.assertEqual(names(filters={"publish": "80"}), [])
        self.assertEqual(names(filters={"since": up}), ["/list-down"])
        self.refused(400, "Invalid filter 'foo'", self.api.containers, filters={"foo": "x"})

    def test_events(self):
        since = int(time.time()) - 1
        made = self.create("true", name="event", labels={"set": "event"})
        self.api.start(made)
        self.api.wait(made)
        self.api.remove_container(made)
        found = self.api.events(
            since=since, until=int(time.time()) + 2, filters={"label": "set=event"}, decode=True
        )
        seen = [(e["Type"], e["Action"], e["status"], e["id"]) for e in found]
        actions = ["create", "start", "die", "destroy"]
        self.assertEqual(seen, [("container", action, action, made) for action in actions])


class Limits(EngineTest):
    def test_settings_reach_the_program(self):
        script = "ulimit -n; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax; id -G"
        host = self.host(
            ulimits=[Ulimit(name="nofile", soft=77, hard=88)],
            sysctls={"net.ipv4.ip_unprivileged_port_start": "55", "kernel.shmmax": "12345"},
            group_add=["10", 99],
        )
        code, printed = self.run_to_end(["sh", "-c", script], host_config=host)
        self.assertEqual((code, printed.split("\n")), (0, ["77", "55", "12345", "0 10 99", ""]))

    def test_tmpfs_and_read_only_root(self):
        script = "touch /x; touch /t/x && touch /m/x && cp /bin/busybox /e/ && /e/busybox true; echo $?"
        mounts = [Mount("/m", None, type="tmpfs", tmpfs_size="1m", tmpfs_mode=0o700)]
        host = self.host(read_only=True, tmpfs={"/t": "size=1m", "/e": "exec"}, mounts=mounts)
        code, printed = self.run_to_end(["sh", "-c", script + "; grep -E ' /[tm] ' /proc/mounts"], host_config=host)
        self.assertIn("Read-only file system", printed)
        self.assertIn("0", printed.splitlines())
        self.assertEqual((code, printed.count("noexec")), (0, 2))

    def test_out_of_memory_is_told(self):
        host = self.host(mem_limit="16m", memswap_limit="16m")
        made = self.start(["sh", "-c", "tail /dev/zero"], host_config=host)
        self.assertEqual(self.api.wait(made)["StatusCode"], 137)
        self.assertTrue(self.state(made)["OOMKilled"])


class Refusals(EngineTest):
    def test_at_create(self):
        create, host = self.create, self.host
        cases = [
            (404, "No such image: nosuch", dict(image="nosuch")),
            (400, "Invalid container name", dict(name="bad name")),
            (400, "Minimum memory limit allowed is 6MB", dict(host_config=host(mem_limit="1m"))),
            (400, "invalid restart policy 'foo'", dict(host_config=host(restart_policy={"Name": "foo"}))),
            (400, "unknown capability", dict(host_config=host(cap_add=["FOO"]))),
            (400, "No such container: nope", dict(host_config=host(volumes_from=["nope"]))),
            (400, "could not get container for nope", dict(host_config=host(links={"nope": "x"}))),
            (400, "bad format for add-host", dict(host_config=host(extra_hosts=["bad"]))),
            (400, "invalid PID mode: bad", dict(host_config=host(pid_mode="bad"))),
            (400, "hostname and the UTS mode", dict(hostname="h", host_config=host(uts_mode="host"))),
            (400, "invalid propagation mode: x", dict(host_config=host(mounts=[Mount("/x", "/tmp", type="bind", propagation="x")]))),
            (400, "ReadOnly mode when using anonymous", dict(host_config=host(mounts=[Mount("/x", None, read_only=True)]))),
            (400, "invalid port specification: \"abc\"", dict(host_config=host(port_bindings={"abc": 1}))),
            (400, "unknown log opt 'foo'", dict(host_config=host(log_config=LogConfig(config={"foo": "1"})))),
            (400, "does not exist", dict(host_config=host(mounts=[Mount("/x", "/nope", type="bind")]))),
            (404, "plugin \"nope\" not found", dict(host_config=host(volume_driver="nope", binds=["nv:/x"]))),
        ]
        for status, text, more in cases:
            with self.subTest(text):
                self.refused(status, text, create, "true", **more)
        self.create("true", name="taken")
        self.refused(409, "is already in use by container", create, "true", name="taken")
        other = self.start("sleep 99")
        shared = host(network_mode="container:" + other)
        self.refused(400, "hostname and the network mode", create, "true", hostname="h", host_config=shared)

    def test_a_wrong_platform_is_not_found(self):
        url = self.api.base_url + "/containers/create?platform=linux/arm64"
        answer = self.api.post(url, json={"Image": "busybox", "Cmd": ["true"]})
        self.assertEqual(answer.status_code, 404)
        self.assertIn("does not match the specified platform", answer.json()["message"])

    def test_at_start(self):
        missing = self.create("nosuchprogram")
        self.refused(400, "executable file not found in $PATH", self.api.start, missing)
        self.assertEqual(self.state(missing)["ExitCode"], 127)
        folder = self.create(["/etc"])
        self.refused(400, "exec: \"/etc\"", self.api.start, folder)
        self.assertEqual(self.state(folder)["ExitCode"], 126)

    def test_run_raises_what_the_sdk_promises(self):
        with self.assertRaises(docker.errors.ContainerError) as caught:
            self.client.containers.run("busybox", "sh -c 'echo out; echo err >&2; exit 9'", remove=True)
        self.assertEqual((caught.exception.exit_status, caught.exception.stderr), (9, b"err\n"))
        with self.assertRaises(docker.errors.NotFound):
            self.client.containers.get("nope")
        with self.assertRaises(docker.errors.ImageNotFound):
            self.client.images.get("nope")
