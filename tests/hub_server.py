"""A small Hub on the loopback interface, for the real client; it can be made to fail.

It speaks what a model repository needs: repositories, branches and pull requests, the tree, files
with their headers, large files behind a redirect to another host (with ranges), and uploads
(`hub_uploads`). Tokens: "reader" may read private repositories, "writer" also write.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_uploads import LARGE, Refusal, Uploads, sha256_of


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)  # branch, tag or refs/pr/N -> commit
    messages: list[str] = field(default_factory=list)

    def commit(self, changes: dict[str, bytes], head: str = "main", base: str = "main") -> str:
        files = {**self.commits.get(self.heads.get(base, ""), {}), **changes}
        number = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[number] = files
        self.heads[head] = number
        return number

    def find(self, revision: str) -> str | None:
        commit = self.heads.get(revision, revision)
        return commit if commit in self.commits else None


@dataclass
class Request:
    method: str
    path: str
    token: str | None
    range: str | None


class HubServer:
    """Starts serving at once; `reset` empties it between tests."""

    def __init__(self) -> None:
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.reset()
        self.plug_in()
        self.url = f"http://127.0.0.1:{self._port}"
        self.cdn = f"http://localhost:{self._port}"  # for the client, another host

    def reset(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}  # sha256 -> what a PUT brought
        self.requests: list[Request] = []
        self.answers: dict[str, int] = {}  # part of "METHOD path" -> status instead of an answer
        self.cuts: dict[str, tuple[str, int]] = {}  # file -> ("close" or "reset", how often still)
        self.damage: dict[str, int] = {}  # file -> how many of its downloads still arrive altered

    def plug_in(self) -> None:
        """Serve, if it does not."""
        if self._server is not None:
            return
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def unplug(self) -> None:
        """Connections are refused from now on."""
        self._server.shutdown()
        self._server.server_close()
        self._server = None

    def add(self, repo_id: str, files: dict[str, bytes], **options: Any) -> str:
        """A repository with one commit, whose id is returned."""
        repo = self.repos.setdefault(repo_id, Repo(**options))
        return repo.commit(files)

    def name_of(self, oid: str) -> tuple[str, bytes] | None:
        """The file of some commit with this sha256."""
        for repo in self.repos.values():
            for files in repo.commits.values():
                for name, content in files.items():
                    if sha256_of(content) == oid:
                        return name, content
        return None


def _git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(Uploads, BaseHTTPRequestHandler):
    hub: HubServer  # HTTP/1.0: one request a connection, so that unplugging leaves none open

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        split = urlsplit(self.path)
        self.query = parse_qs(split.query)
        self.parts = [unquote(part) for part in split.path.strip("/").split("/")]
        bearer = self.headers.get("Authorization")
        self.token = bearer.removeprefix("Bearer ") if bearer else None
        path = unquote(split.path)
        self.hub.requests.append(Request(self.command, path, self.token, self.headers.get("Range")))
        self.body = self._read_body()
        try:
            for part, status in self.hub.answers.items():
                if part in f"{self.command} {path}":
                    raise Refusal(status)
            self._route()
        except Refusal as refusal:
            self._send(refusal.status, refusal.content, refusal.headers)

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _route(self) -> None:
        if self.command in ("POST", "PUT"):
            self.route_upload()
            return
        match self.parts:
            case ["api", "models", owner, name]:
                self._info(f"{owner}/{name}", "main")
            case ["api", "models", owner, name, "revision", revision]:
                self._info(f"{owner}/{name}", revision)
            case ["api", "models", owner, name, "tree", revision]:
                self._tree(f"{owner}/{name}", revision)
            case ["cdn", oid]:
                self._content(*self.hub.name_of(oid))
            case [owner, name, "resolve", revision, *path]:
                self._resolve(f"{owner}/{name}", revision, "/".join(path))
            case _:
                raise Refusal(404)

    # who may do what

    def user(self) -> str | None:
        if self.token not in (None, "reader", "writer"):
            raise Refusal(401, None, "Invalid credentials in Authorization header")
        return self.token

    def repo(self, repo_id: str, write: bool = False) -> Repo:
        user, repo = self.user(), self.hub.repos.get(repo_id)
        if repo is None or (repo.private and user is None):
            raise Refusal(404 if user else 401, "RepoNotFound", "Repository not found")
        if write and user != "writer":
            raise Refusal(403 if user else 401, None, "you need a token with write permission")
        return repo

    def find(self, repo: Repo, revision: str) -> str:
        commit = repo.find(revision)
        if commit is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    # reading

    def _info(self, repo_id: str, revision: str) -> None:
        repo = self.repo(repo_id)
        commit = self.find(repo, revision)
        names = [{"rfilename": name} for name in repo.commits[commit]]
        self.json({"id": repo_id, "sha": commit, "private": repo.private, "siblings": names})

    def _tree(self, repo_id: str, revision: str) -> None:
        repo = self.repo(repo_id)
        rows = []
        for name, content in repo.commits[self.find(repo, revision)].items():
            size = len(content)
            row = {"type": "file", "oid": _git_id(content), "size": size, "path": name}
            if name.endswith(LARGE):
                row["lfs"] = {"oid": sha256_of(content), "size": size, "pointerSize": 134}
            rows.append(row)
        self.json(rows)

    def _resolve(self, repo_id: str, revision: str, path: str) -> None:
        repo = self.repo(repo_id)
        if repo.gated and self.user() != "writer":
            raise Refusal(403 if self.token else 401, "GatedRepo", "Access is restricted")
        commit = self.find(repo, revision)
        content = repo.commits[commit].get(path)
        if content is None:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        if not path.endswith(LARGE):
            about = {"X-Repo-Commit": commit, "ETag": f'"{_git_id(content)}"'}
            self._content(path, content, about)
            return
        oid = sha256_of(content)
        about = {
            "X-Repo-Commit": commit,
            "X-Linked-Etag": f'"{oid}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"{self.hub.cdn}/cdn/{oid}",
        }
        self._send(302, b"", about)

    def _content(self, name: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        if self.hub.damage.get(name, 0) and self.command == "GET":
            self.hub.damage[name] -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers, status, total = dict(headers or {}), 200, len(content)
        wanted = self.headers.get("Range")
        if wanted:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            content, status = content[start:], 206
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        how, times = self.hub.cuts.get(name, ("", 0))
        if times and self.command == "GET":
            self.hub.cuts[name] = (how, times - 1)
            self._cut(status, content, headers, how)
        else:
            self._send(status, content, headers)

    def _cut(self, status: int, content: bytes, headers: dict[str, str], how: str) -> None:
        self._head(status, {**headers, "Content-Length": str(len(content))})
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        if how == "reset":  # the close then sends RST instead of FIN
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    # answering

    def json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self._head(status, {**headers, "Content-Length": str(len(content))})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
