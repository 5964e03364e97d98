"""Networks, ports and volumes."""

from docker.types import IPAMConfig, IPAMPool, Mount

from harness import EngineTest


class Networks(EngineTest):
    def network(self, name, **more):
        made = self.client.networks.create(name, **more)
        self.addCleanup(made.remove)
        return made

    def ping(self, container, name):
        session = self.api.exec_create(container, ["ping", "-c1", "-W5", name])
        self.api.exec_start(session)
        return self.api.exec_inspect(session)["ExitCode"] == 0

    def test_addresses_aliases_and_links(self):
        pool = IPAMPool(subnet="10.9.0.0/24", gateway="10.9.0.254", iprange="10.9.0.128/25")
        self.network("sdk-net", ipam=IPAMConfig(pool_configs=[pool]), labels={"a": "b"})
        one = self.create("sleep 99", name="net-one")
        self.api.connect_container_to_network(one, "sdk-net", ipv4_address="10.9.0.140", aliases=["al"])
        self.api.start(one)
        own = self.api.inspect_container(one)["NetworkSettings"]["Networks"]["sdk-net"]
        self.assertEqual((own["IPAddress"], own["Gateway"]), ("10.9.0.140", "10.9.0.254"))
        endpoint = self.api.create_endpoint_config(links={"net-one": "linked"})
        two = self.start(
            "sleep 99",
            networking_config=self.api.create_networking_config({"sdk-net": endpoint}),
            host_config=self.host(network_mode="sdk-net"),
        )
        for name in ("net-one", "al", one[:12], "linked"):
            self.assertTrue(self.ping(two, name), name)
        self.assertEqual(set(self.api.inspect_network("sdk-net")["Containers"]), {one, two})
        self.refused(403, "already exists in network", self.api.connect_container_to_network, one, "sdk-net")
        self.refused(400, "disconnected from host network", self.api.connect_container_to_network, one, "host")
        self.refused(400, "in private (none) mode", self.api.connect_container_to_network, one, "none")
        self.refused(403, "has active endpoints", self.api.remove_network, "sdk-net")
        wrong = dict(ipv4_address="10.1.0.1")
        self.api.disconnect_container_from_network(one, "sdk-net")
        self.refused(
            500, "is not connected to", self.api.disconnect_container_from_network, one, "sdk-net"
        )
        self.refused(
            400, "does not belong to any", self.api.connect_container_to_network, one, "sdk-net", **wrong
        )
        self.remove(one)
        self.remove(two)

    def test_only_what_is_asked_for_and_by_any_name(self):
        network = self.network("sdk-own")
        endpoint = self.api.create_endpoint_config(aliases=["al"])
        asked = self.api.create_networking_config({"sdk-own": endpoint})
        made = self.start("sleep 99", hostname="myhost", networking_config=asked)
        shown = lambda version: self.api.get(f"{self.api.base_url}/v{version}/containers/{made}/json").json()
        networks = shown("1.43")["NetworkSettings"]["Networks"]
        self.assertEqual((list(networks), networks["sdk-own"]["Aliases"]), (["sdk-own"], ["al", made[:12]]))
        own = shown("1.45")["NetworkSettings"]["Networks"]["sdk-own"]
        self.assertEqual((own["Aliases"], own["DNSNames"][1:]), (["al"], ["al", made[:12], "myhost"]))
        self.assertTrue(self.ping(made, "myhost"))
        other = self.start("sleep 99", host_config=self.host(network_mode=network.id[:10]))
        self.assertEqual(list(self.api.inspect_container(other)["NetworkSettings"]["Networks"]), ["sdk-own"])
        self.assertTrue(self.ping(other, "al"))
        self.remove(made)
        self.remove(other)

    def test_refusals(self):
        self.network("sdk-taken")
        create = self.api.create_network
        driver = IPAMConfig(driver="nope")
        mtu = {"com.docker.network.driver.mtu": "zz"}
        outside = IPAMConfig(pool_configs=[IPAMPool(subnet="10.8.0.0/24", iprange="10.9.0.0/25")])
        icc = {"com.docker.network.bridge.enable_icc": "perhaps"}
        for status, text, more in [
            (400, "invalid ip-range 10.9.0.0/25", dict(name="x", ipam=outside)),
            (400, "strconv.ParseBool: parsing \"perhaps\"", dict(name="x", options=icc)),
            (409, "already exists", dict(name="sdk-taken", check_duplicate=True)),
            (404, "plugin \"nope\" not found", dict(name="x", driver="nope")),
            (404, "plugin \"nope\" not found", dict(name="x", ipam=driver)),
            (403, "swarm scoped", dict(name="x", scope="swarm")),
            (403, "Ingress network", dict(name="x", ingress=True)),
            (400, "com.docker.network.driver.mtu", dict(name="x", options=mtu)),
            (403, "predefined host network", dict(name="host")),
        ]:
            with self.subTest(text):
                self.refused(status, text, create, **more)
        self.refused(404, "network zz not found", self.api.inspect_network, "zz")
        self.refused(403, "pre-defined network and cannot be removed", self.api.remove_network, "bridge")

    def test_ports(self):
        bindings = {80: ("127.0.0.1", 4567), "81/udp": 4568, 82: None}
        made = self.start("sleep 99", ports=[80, (81, "udp"), 82, 83], host_config=self.host(port_bindings=bindings))
        self.assertEqual(self.api.port(made, 80), [{"HostIp": "127.0.0.1", "HostPort": "4567"}])
        self.assertEqual(self.api.port(made, "81/udp")[0]["HostPort"], "4568")
        self.assertTrue(self.api.port(made, 82)[0]["HostPort"])
        self.assertIsNone(self.api.inspect_container(made)["NetworkSettings"]["Ports"]["83/tcp"])
        other = self.create("sleep 99", host_config=self.host(port_bindings={80: ("127.0.0.1", 4567)}))
        self.refused(500, "Bind for 127.0.0.1:4567 failed: port is already allocated", self.api.start, other)

    def test_links_on_the_default_bridge(self):
        self.start("sleep 99", name="link-one", environment={"FOO": "1"}, ports=[80])
        code, printed = self.run_to_end("env", host_config=self.host(links={"link-one": "ml"}))
        self.assertEqual(code, 0)
        for line in ("ML_ENV_FOO=1", "ML_PORT_80_TCP_PORT=80", "/ml"):
            self.assertIn(line, printed)


class Links(EngineTest):
    def names(self, container):
        return self.api.containers(all=True, filters={"id": container})[0]["Names"]

    def test_a_link_is_a_name_and_follows_renames(self):
        child = self.start("sleep 99", name="link-child")
        parent = self.create("sleep 99", name="link-parent", host_config=self.host(links={"link-child": "al"}))
        links = lambda: self.api.inspect_container(parent)["HostConfig"]["Links"]
        self.assertEqual(links(), ["/link-child:/link-parent/al"])
        self.assertEqual(self.names(child), ["/link-child", "/link-parent/al"])
        self.assertEqual(self.api.inspect_container("link-parent/al")["Id"], child)
        self.api.rename(child, "link-other")
        self.api.rename(parent, "link-above")
        self.assertEqual(links(), ["/link-other:/link-above/al"])
        self.api.start(parent)
        self.refused(500, "cannot remove the default link name", self.api.remove_container, parent, link=True)
        self.api.remove_container("link-above/al", link=True)
        self.assertEqual((links(), self.names(child)), (None, ["/link-other"]))

    def test_a_link_wants_its_end_to_run(self):
        child = self.create("sleep 99", name="link-down")
        parent = self.create("true", name="link-up", host_config=self.host(links={"link-down": "x"}))
        told = "Cannot link to a non running container: /link-down AS /link-up/x"
        self.refused(500, told, self.api.start, parent)
        self.remove(child)
        self.api.start(parent)


class Volumes(EngineTest):
    def test_life(self):
        made = self.client.volumes.create("sdk-vol", labels={"a": "b"})
        self.assertEqual((made.attrs["Driver"], made.attrs["Labels"]), ("local", {"a": "b"}))
        host = self.host(binds=["sdk-vol:/x"])
        self.assertEqual(self.run_to_end(["sh", "-c", "echo kept >/x/f"], host_config=host)[0], 0)
        user = self.create(["cat", "/x/f"], host_config=host)
        self.refused(409, "volume is in use", self.api.remove_volume, "sdk-vol")
        self.api.start(user)
        self.api.wait(user)
        self.assertEqual(self.api.logs(user), b"kept\n")
        for container in self.api.containers(all=True, filters={"volume": "sdk-vol"}):
            self.remove(container["Id"])
        made.remove()
        self.refused(404, "no such volume", self.api.inspect_volume, "sdk-vol")

    def test_a_volume_takes_what_the_image_has_there(self):
        code, said = self.run_to_end(["sh", "-c", "grep -c ' /bin ' /proc/mounts; ls /bin/sh"], volumes=["/bin"])
        self.assertEqual((code, said), (0, "1\n/bin/sh\n"))

    def test_mounts(self):
        mounts = [
            Mount("/v", "sdk-mount", type="volume", labels={"q": "w"}, no_copy=True, read_only=True),
            Mount("/b", "/tmp", type="bind", propagation="rslave"),
        ]
        made = self.create("true", host_config=self.host(mounts=mounts))
        shown = {m["Destination"]: (m["Type"], m["RW"], m["Propagation"]) for m in self.api.inspect_container(made)["Mounts"]}
        self.assertEqual(shown, {"/v": ("volume", False, ""), "/b": ("bind", True, "rslave")})
        self.assertEqual(self.api.inspect_volume("sdk-mount")["Labels"], {"q": "w"})
        self.remove(made)
        self.api.remove_volume("sdk-mount")

    def test_a_part_of_a_volume(self):
        script = "mkdir -p /v/sub/deep; echo x >/v/sub/f; ln -s / /v/out; ln -s sub/deep /v/in"
        self.run_to_end(["sh", "-c", script], host_config=self.host(binds=["sdk-part:/v"]))
        self.addCleanup(self.api.remove_volume, "sdk-part", force=True)

        def with_part(part, version="1.45"):
            mount = {"Type": "volume", "Source": "sdk-part", "Target": "/x", "VolumeOptions": {"Subpath": part}}
            body = {"Image": "busybox", "Cmd": ["ls", "/x"], "HostConfig": {"Mounts": [mount]}}
            answer = self.api.post(f"{self.api.base_url}/v{version}/containers/create", json=body)
            if answer.status_code != 201:
                return answer.status_code, answer.json()["message"]
            made = answer.json()["Id"]
            self.addCleanup(self.remove, made)
            started = self.api.post(f"{self.api.base_url}/containers/{made}/start")
            if started.status_code != 204:
                return started.status_code, started.json()["message"]
            self.api.wait(made)
            return 204, self.api.logs(made).decode()

        self.assertEqual(with_part("sub"), (204, "deep\nf\n"))
        self.assertEqual(with_part("in"), (204, ""))
        self.assertIn("escapes the base directory", with_part("out")[1])
        self.assertIn("cannot access path", with_part("nothing")[1])
        self.assertIn("must be a relative path within the volume", with_part("../x")[1])
        self.assertEqual(with_part("sub", "1.44"), (400, "VolumeOptions.Subpath needs API v1.45 or newer"))
        for made in self.api.containers(all=True, filters={"volume": "sdk-part"}):
            self.remove(made["Id"])

    def test_prune_and_filters(self):
        self.api.create_volume("sdk-prune", labels={"prune": "me"})
        found = self.api.volumes(filters={"label": "prune=me"})["Volumes"]
        self.assertEqual([v["Name"] for v in found], ["sdk-prune"])
        self.refused(400, "Invalid filter 'foo'", self.api.volumes, filters={"foo": "x"})
        self.api.prune_volumes(filters={"label": ["prune=me"], "all": ["true"]})
        self.refused(404, "no such volume", self.api.inspect_volume, "sdk-prune")


class Engine(EngineTest):
    def test_what_it_says_of_itself(self):
        self.assertTrue(self.client.ping())
        info = self.api.info()
        self.assertEqual((info["OSType"], info["Swarm"]["LocalNodeState"]), ("linux", "inactive"))
        self.assertEqual(set(self.api.df()) >= {"Containers", "Images", "Volumes", "LayersSize"}, True)
        self.refused(503, "This node is not a swarm manager", self.api.nodes)
        self.assertEqual(self.client.plugins.list(), [])

    def test_metrics(self):
        self.run_to_end("true")
        page = self.api.get(self.api.base_url + "/metrics").text
        for series in (
            'engine_daemon_container_states_containers{state="running"} ',
            'engine_daemon_container_actions_seconds_count{action="start"} ',
            "engine_daemon_engine_info{",
        ):
            self.assertIn(series, page)
