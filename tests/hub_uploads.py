"""What the test Hub does with uploads: repositories, branches, LFS objects and commits."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

LARGE = ".safetensors"  # what the Hub keeps in LFS by default


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Refusal(Exception):
    """An answer of failure, with the Hub's headers and, in its JSON, whatever else it tells."""

    def __init__(self, status: int, code: str | None = None, message: str = "refused", **also: str):
        self.status = status
        self.headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.content = json.dumps({"error": message, **also}).encode()


class Uploads:
    """The writing half of the handler in `hub_server`, which has the rest of these."""

    hub: Any
    parts: list[str]
    body: bytes

    def route_upload(self) -> None:
        match self.parts:
            case ["api", "repos", "create"]:
                self._create()
            case ["api", "validate-yaml"] | ["lfs", "verify"]:
                self.json({})
            case ["api", "models", owner, name, "branch", branch]:
                self._branch(self.repo(f"{owner}/{name}", write=True), branch)
            case ["api", "models", owner, name, "preupload", _]:
                self._preupload(self.repo(f"{owner}/{name}", write=True))
            case ["api", "models", owner, name, "commit", revision]:
                self._commit(f"{owner}/{name}", revision)
            case [owner, name, "info", "lfs", "objects", "batch"]:
                self._batch(f"{owner}/{name.removesuffix('.git')}")
            case ["lfs", oid] if sha256_of(self.body) == oid:
                self.hub.blobs[oid] = self.body
                self.json({})
            case _:
                raise Refusal(404)

    def _create(self) -> None:
        asked = json.loads(self.body)
        repo_id = f"{asked['organization']}/{asked['name']}"
        if self.user() != "writer":
            raise Refusal(403 if self.token else 401, None, "you may not create a repository")
        if repo_id in self.hub.repos:
            raise Refusal(409, None, "You already created this", url=f"{self.hub.url}/{repo_id}")
        self.hub.add(
            repo_id, {".gitattributes": b"*.safetensors lfs"},
            private=asked.get("visibility") == "private" or bool(asked.get("private")),
        )  # fmt: skip
        self.json({"url": f"{self.hub.url}/{repo_id}"})

    def _branch(self, repo: Any, branch: str) -> None:
        if branch in repo.heads:
            raise Refusal(409, None, "Reference already exists")
        repo.heads[branch] = repo.heads["main"]
        self.json({})

    def _preupload(self, repo: Any) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        self.json({"files": files})

    def _batch(self, repo_id: str) -> None:
        self.repo(repo_id, write=True)
        objects = []
        for item in json.loads(self.body)["objects"]:
            if item["oid"] not in self.hub.blobs:
                target = {"href": f"{self.hub.cdn}/lfs/{item['oid']}"}
                verify = {"href": f"{self.hub.url}/lfs/verify"}
                item["actions"] = {"upload": target, "verify": verify}
            objects.append(item)
        self.json({"transfer": "basic", "objects": objects})

    def _commit(self, repo_id: str, revision: str) -> None:
        repo = self.repo(repo_id, write=True)
        self.find(repo, revision)
        changes = {}
        for line in self.body.splitlines():
            row = json.loads(line)
            value = row["value"]
            if row["key"] == "header":
                repo.messages.append(value["summary"])
            elif row["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            else:
                changes[value["path"]] = self.hub.blobs[value["oid"]]
        head, page = revision, None
        if "create_pr" in self.query:
            head, page = "refs/pr/1", f"{self.hub.url}/{repo_id}/discussions/1"
        number = repo.commit(changes, head, base=revision)
        address = f"{self.hub.url}/{repo_id}/commit/{number}"
        self.json({"commitUrl": address, "commitOid": number, "pullRequestUrl": page})
