"""A Hugging Face Hub of one process: as much of its protocol as pushing and fetching three files takes."""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_of_the_test"


@dataclass
class Repository:
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {".gitattributes": b""}})
    refs: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})

    def commit(self, files):
        content = {**self.commits[self.refs["main"]], **files}
        sha = hashlib.sha1(repr(sorted(content.items())).encode()).hexdigest()
        self.commits[sha], self.refs["main"] = content, sha
        return sha


class Hub(ThreadingHTTPServer):
    """`repositories` by id; `asked` are the requests so far; `sizes` are told of files in place of theirs."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories, self.uploads, self.asked, self.sizes = {}, {}, [], {}

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header and body in one packet: the second would wait for an acknowledgement of the first

    def log_message(self, *_):
        pass

    def answer(self, status, content=b"", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        self.server.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        found = re.fullmatch(r"/api/models/(\w+/\w+)(?:/(revision|tree)/(.+))?|/(\w+/\w+)/(resolve)/([^/]+)/(.+)", path)
        if found is None:
            return self.answer(404, {"error": "Not found"})
        name, kind, revision = found[1] or found[4], found[2] or found[5], found[3] or found[6] or "main"
        repository = self.server.repositories.get(name)
        if repository is None:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        sha = repository.refs.get(revision, revision)
        if sha not in repository.commits:
            return self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        files = repository.commits[sha]
        if kind == "resolve":
            content = files[found[7]]
            told = {"Content_Length": self.server.sizes.get(found[7], len(content))} if self.command == "HEAD" else {}
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            return self.answer(200, content, ETag=etag, X_Repo_Commit=sha, **told)
        if kind == "tree":
            return self.answer(200, [{"type": "file", "path": p, "size": len(c), "oid": "0"} for p, c in files.items()])
        siblings = [{"rfilename": path} for path in files]
        return self.answer(200, {"id": name, "sha": sha, "private": repository.private, "siblings": siblings})

    do_HEAD = do_GET

    def do_POST(self):
        self.server.asked.append(f"{self.command} {self.path}")
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid username or password."})
        if self.path == "/api/repos/create":
            return self.create(json.loads(content))
        name, what = re.fullmatch(
            r"/(?:api/models/)?(\w+/\w+)(?:\.git/info)?/(preupload|commit|lfs)/.*", self.path
        ).groups()
        return getattr(self, what)(name, content)

    def create(self, asked):
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.server.repositories:
            return self.answer(
                409, {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"}
            )
        self.server.repositories[name] = Repository(asked.get("visibility") == "private")
        return self.answer(200, {"url": f"{self.server.url}/{name}"})

    def preupload(self, _, content):
        def mode(path):
            return {"path": path, "uploadMode": "lfs" if path.endswith(".safetensors") else "regular"}

        files = [mode(file["path"]) | {"shouldIgnore": False} for file in json.loads(content)["files"]]
        self.answer(200, {"files": files})

    def lfs(self, _, content):
        objects = json.loads(content)["objects"]
        actions = [{**o, "actions": {"upload": {"href": f"{self.server.url}/{o['oid']}"}}} for o in objects]
        self.answer(200, {"transfer": "basic", "objects": actions})

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        assert hashlib.sha256(content).hexdigest() == self.path.strip("/")
        self.server.uploads[self.path.strip("/")] = content
        self.answer(200)

    def commit(self, name, content):
        files = {}
        for line in map(json.loads, content.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.uploads[value["oid"]]
        sha = self.server.repositories[name].commit(files)
        self.answer(200, {"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha, "success": True})
