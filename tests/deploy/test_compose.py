"""The composition: the schema of Compose, and what is named in it exists, with the meaning that the server gives it."""

import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from engine.server.object_blobs import ObjectBlobs
from engine.server.open_store import is_shared
from engine.server.settings import Settings, load_settings
from tests.deploy.dockerfile import DOCKER, ROOT, comment_of, read_stages

FILE = DOCKER / "compose.yaml"
NGINX = (DOCKER / "nginx.conf").read_text()


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return found


def environment(name: str) -> dict[str, str]:
    """With a word in place of every variable that the user sets."""
    return {key: re.sub(r"\$\{\w+:\?\}", "secret", text) for key, text in services()[name]["environment"].items()}


def test_compose_would_read_it() -> None:
    check = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run([check, "--builtin-schema", "vendor.compose-spec", FILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_images_but_ours_are_pinned() -> None:
    for name, service in services().items():
        if name != "front":
            assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", service["image"]), name


def test_fronts_are_built_from_the_dockerfile_and_hardened() -> None:
    front = services()["front"]
    build = front["build"]
    context = (DOCKER / build["context"]).resolve()
    assert context == ROOT and (context / build["dockerfile"]).is_file()
    assert build["target"] in read_stages() and front["image"] == f"hiper:{build['target']}"
    assert front["read_only"] and front["tmpfs"] == ["/tmp"] and front["cap_drop"] == ["ALL"]
    assert front["deploy"]["replicas"] == 2 and "container_name" not in front and "ports" not in front
    assert int(front["stop_grace_period"].removesuffix("s")) > Settings.model_fields["drain_s"].default
    written = {read_stages()["cpu"].environment["HIPER_DATA_DIR"], read_stages()["cpu"].environment["HIPER_BUNDLE"]}
    assert {volume.removesuffix(":ro").rpartition(":")[2] for volume in front["volumes"]} == written


def test_the_server_takes_the_settings_of_a_front(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {name: text for name, text in environment("front").items() if name.startswith("HIPER_")}
    assert {name.removeprefix("HIPER_").lower() for name in ours} <= Settings.model_fields.keys()
    for name, text in ours.items():
        monkeypatch.setenv(name, text)
    assert is_shared(load_settings())


def test_fronts_find_tables_and_pictures() -> None:
    front, tables, pictures = environment("front"), environment("tables"), environment("pictures")
    user, password, base = (tables[f"POSTGRES_{name}"] for name in ("USER", "PASSWORD", "DB"))
    assert front["HIPER_STORE_URL"] == f"postgresql://{user}:{password}@tables/{base}"
    assert front["AWS_ENDPOINT_URL"] == "http://pictures:9000"
    assert front["AWS_ACCESS_KEY_ID"] == pictures["MINIO_ROOT_USER"]
    assert front["AWS_SECRET_ACCESS_KEY"] == pictures["MINIO_ROOT_PASSWORD"]
    bucket = re.fullmatch(r"s3://(\w+)/\w+", front["HIPER_IMAGES_URL"])
    assert bucket and services()["bucket"]["entrypoint"][-1].endswith(f"mc mb --ignore-existing store/{bucket[1]}")


class Listening(BaseHTTPRequestHandler):
    """Takes whatever is put, and keeps whose it was and where it went."""

    puts: ClassVar[list[tuple[str, str]]] = []

    def do_PUT(self) -> None:
        self.puts.append((self.path, self.headers["Authorization"]))
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_front_puts_pictures_into_the_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    front = environment("front")
    with ThreadingHTTPServer(("127.0.0.1", 0), Listening) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, text in front.items():
            monkeypatch.setenv(name, text.replace("pictures:9000", f"127.0.0.1:{server.server_port}"))
        ObjectBlobs(front["HIPER_IMAGES_URL"]).put("f" * 64, b"pixels")
        server.shutdown()
    [(path, authorization)] = Listening.puts
    assert path == f"/hiper/images/{'f' * 64}.png"
    assert f"Credential={front['AWS_ACCESS_KEY_ID']}/" in authorization and front["AWS_REGION"] in authorization


def test_whoever_starts_it_is_told_of_every_variable() -> None:
    head = comment_of(FILE)
    assert {*re.findall(r"\$\{(\w+):\?\}", FILE.read_text())} == {*re.findall(r"(\w+)=", head.splitlines()[1])}
    assert not re.findall(r"\$\{\w+\}", FILE.read_text())
    for path in re.findall(r"docker compose -f (\S+)", head):
        assert ROOT / path == FILE
    [port] = services()["balancer"]["ports"]
    assert f"http://{port.rpartition(':')[0]}/v1/images/generations" in head


def test_the_balancer_passes_on_what_the_server_wants() -> None:
    [port] = services()["balancer"]["ports"]
    assert f"listen {port.rpartition(':')[2]};" in NGINX and "./nginx.conf:/etc/nginx/nginx.conf:ro" in str(services())
    assert f"server front:{Settings.model_fields['port'].default} resolve" in NGINX
    [size_mib] = re.findall(r"client_max_body_size (\d+)m;", NGINX)
    assert int(size_mib) * 2**20 == Settings.model_fields["max_body_bytes"].default
    [patience_s] = re.findall(r"proxy_read_timeout (\d+)s;", NGINX)
    assert int(patience_s) > Settings.model_fields["edit_timeout_s"].default
    # Everything that nginx writes lies where it may.
    assert {*re.findall(r"(?:_path|pid)\s+(/\w+)/", NGINX)} == {"/tmp"} and len(re.findall(r"_temp_path", NGINX)) == 5
