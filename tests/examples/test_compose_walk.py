"""The walk through `docker compose up` names services, ports and topics that the compose file has."""

from __future__ import annotations

import re

import yaml

from tests.project.documents import ROOT, fenced_lines, words_of

WALK = ROOT / "examples" / "compose.md"


def test_the_walk_names_what_the_compose_file_has() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    services = yaml.safe_load(text)["services"]
    table = WALK.read_text().split("| Service |")[1].split("\n\n")[0]
    named = {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == set(services)
    for port in re.findall(r"localhost:(\d+)", WALK.read_text()):
        assert f"127.0.0.1:{port}:" in text
    for line in fenced_lines(WALK):
        words = words_of(line)
        assert words[0] in {"docker", "curl"}
        if words[:3] in (["docker", "compose", "exec"], ["docker", "compose", "kill"]):
            assert words[3] in services
        if "--topic" in words:
            assert words[words.index("--topic") + 1] in text
