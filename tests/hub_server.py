# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""A small Hugging Face Hub on the loopback interface: model repositories with commits, LFS and revisions, in memory."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_loopback"


class Hub(ThreadingHTTPServer):
    """Repositories are lists of commits, each a name, an id and all files; branches point to commits."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, repository: str, revision: str = "main") -> tuple[str, dict[str, bytes]] | None:
        """The commit id that a branch or id names, and its files."""
        found = self.repositories.get(repository)
        commit = None if found is None else found["branches"].get(revision, revision)
        return (commit, found["commits"][commit]) if found and commit in found["commits"] else None


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None: ...

    def answer(self, body: Any = b"", status: int = 200, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.answer({"error": code}, status, X_Error_Code=code)

    def handle_request(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        changes = self.command in ("POST", "PUT") and not path.startswith("/objects/")
        if changes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "Unauthorized")
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if parts[0] == "objects":
            if hashlib.sha256(body).hexdigest() != parts[1]:
                return self.refuse(400, "BadObject")
            self.server.objects[parts[1]] = body
            return self.answer()
        if parts[-3:] == ["lfs", "objects", "batch"]:
            return self.lfs(json.loads(body))
        if parts[:2] == ["api", "models"]:
            repository, rest = "/".join(parts[2:4]), parts[4:]
            if rest[:1] == ["preupload"]:
                return self.preupload(json.loads(body))
            if rest[:1] == ["commit"]:
                return self.commit(repository, rest[1], body)
            return self.info(repository, rest[1] if rest else "main", rest[:1] == ["tree"])
        if len(parts) > 4 and parts[2] == "resolve":
            return self.resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        return self.refuse(404, "EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    def create(self, wanted: dict[str, Any]) -> None:
        name = wanted["name"] if not wanted.get("organization") else f"{wanted['organization']}/{wanted['name']}"
        if name in self.server.repositories:
            return self.answer({"url": f"{self.server.url}/{name}"}, 409)
        first = hashlib.sha1(name.encode()).hexdigest()
        private = bool(wanted.get("private") or wanted.get("visibility") == "private")
        self.server.repositories[name] = {"branches": {"main": first}, "commits": {first: {}}, "private": private}
        return self.answer({"url": f"{self.server.url}/{name}", "id": name})

    def preupload(self, wanted: dict[str, Any]) -> None:
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in wanted["files"]
        ]
        return self.answer({"files": modes})

    def lfs(self, wanted: dict[str, Any]) -> None:
        objects = []
        for item in wanted["objects"]:
            upload = {"href": f"{self.server.url}/objects/{item['oid']}", "header": {}}
            actions = {} if item["oid"] in self.server.objects else {"actions": {"upload": upload}}
            objects.append({"oid": item["oid"], "size": item["size"]} | actions)
        return self.answer({"transfer": "basic", "objects": objects})

    def commit(self, repository: str, branch: str, body: bytes) -> None:
        current = self.server.files(repository, branch) or self.server.files(repository)
        if current is None:
            return self.refuse(404, "RepoNotFound")
        files = dict(current[1])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                files.pop(value["path"], None)
        commit = hashlib.sha1(body + current[0].encode()).hexdigest()
        found = self.server.repositories[repository]
        found["commits"][commit], found["branches"][branch] = files, commit
        url = f"{self.server.url}/{repository}/commit/{commit}"
        return self.answer({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def visible(self, repository: str) -> bool:
        found = self.server.repositories.get(repository)
        open_to_all = found is not None and not found["private"]
        return found is not None and (open_to_all or self.headers.get("Authorization") == f"Bearer {TOKEN}")

    def info(self, repository: str, revision: str, tree: bool) -> None:
        if not self.visible(repository):
            return self.refuse(404, "RepoNotFound")
        found = self.server.files(repository, revision)
        if found is None:
            return self.refuse(404, "RevisionNotFound")
        if tree:
            files = {name: hashlib.sha1(content).hexdigest() for name, content in found[1].items()}
            return self.answer(
                [{"type": "file", "path": name, "size": len(found[1][name]), "oid": oid} for name, oid in files.items()]
            )
        siblings = [{"rfilename": name} for name in found[1]]
        return self.answer({"id": repository, "modelId": repository, "sha": found[0], "siblings": siblings})

    def resolve(self, repository: str, revision: str, file: str) -> None:
        if not self.visible(repository):
            return self.refuse(404, "RepoNotFound")
        found = self.server.files(repository, revision)
        if found is None:
            return self.refuse(404, "RevisionNotFound")
        if file not in found[1]:
            return self.answer({"error": "none"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=found[0])
        content = found[1][file]
        etag = hashlib.sha256(content).hexdigest()
        return self.answer(content, ETag=f'"{etag}"', X_Repo_Commit=found[0])
