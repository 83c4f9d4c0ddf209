#!/usr/bin/env python3
"""Reads FORMAT.md's vectors with an implementation that shares nothing with the Rust one.

Ed25519 is OpenSSL's, by the package `cryptography`; what FORMAT.md asks for beyond it is written here. Prints how many vectors
ended at which step, or fails with the first that does not do what it says.

usage: check.py DIRECTORY   (gigmcp-registry/vectors)
"""

import datetime
import hashlib
import json
import pathlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PRIME = 2**255 - 19
# The y coordinates of the eight points of small order.
SMALL_ORDER_Y = {
    0,
    1,
    PRIME - 1,
    int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
}
SKEW = datetime.timedelta(seconds=600)


class Refused(Exception):
    """With the step at which it was noticed."""


def need(condition, step):
    if not condition:
        raise Refused(step)


def y_of(point):
    return int.from_bytes(point, "little") & (2**255 - 1)


def has_small_order(point):
    return y_of(point) % PRIME in SMALL_ORDER_Y


def unhex(text, length, step):
    need(isinstance(text, str) and len(text) == 2 * length and set(text) <= set("0123456789abcdef"), step)
    return bytes.fromhex(text)


def public_key(text):
    raw = unhex(text, 32, "key")
    need(y_of(raw) < PRIME and not has_small_order(raw), "key")
    return raw


def key_id(raw):
    return hashlib.sha256(raw).hexdigest()


def digest(document):
    return "sha256:" + hashlib.sha256(document).hexdigest()


def message(label, document):
    return f"{label}\n{digest(document)}\n".encode()


def verifies(key, signed, signature):
    if has_small_order(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def read_json(text, step):
    def unique(pairs):
        need(len({name for name, _ in pairs}) == len(pairs), step)
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise Refused(step) from None


def fields(value, names, step):
    need(isinstance(value, dict) and set(value) == set(names), step)
    return [value[name] for name in names]


def read_signatures(line):
    (listed,) = fields(read_json(line, "signatures"), ["signatures"], "signatures")
    need(isinstance(listed, list) and len(listed) <= 64 and len(line.encode()) <= 65536, "signatures")
    signatures = []
    for entry in listed:
        name, signature = fields(entry, ["keyId", "signature"], "signatures")
        unhex(name, 32, "signatures")
        signatures.append((name, unhex(signature, 64, "signatures")))
    entries = [{"keyId": name, "signature": signature.hex()} for name, signature in signatures]
    need(json.dumps({"signatures": entries}, separators=(",", ":")) == line, "signatures")
    return signatures


def threshold_of(signatures, keys, threshold, signed):
    trusted = {key_id(key): key for key in keys}
    need(len(trusted) == len(keys) and 1 <= threshold <= len(keys), "keys")
    signers = set()
    for name, signature in signatures:
        if name in trusted:
            need(verifies(trusted[name], signed, signature), "signature")
            signers.add(name)
    need(len(signers) >= threshold, "threshold")


def moment(text, step):
    need(isinstance(text, str), step)
    try:
        parsed = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        raise Refused(step) from None
    need(parsed.year >= 1970 and parsed.strftime("%Y-%m-%dT%H:%M:%SZ") == text, step)
    return parsed


def fresh(sequence, generated, expires, document, servers, now, seen):
    need(generated - now <= SKEW, "future")
    need(now < expires, "expired")
    images = {name: dict(versions) for name, versions in seen["images"].items()} if seen else {}
    if seen:
        need(sequence >= seen["sequence"], "older")
        need(sequence > seen["sequence"] or digest(document) == seen["digest"], "forked")
    for name, server in servers.items():
        for version, manifest in server["versions"].items():
            image = manifest["image"]["digest"]
            need(images.setdefault(name, {}).setdefault(version, image) == image, "repinned")
    return {"sequence": sequence, "digest": digest(document), "images": images}


def check_index(vector, document, now, seen):
    signatures = read_signatures(vector["signatures"])
    keys = [public_key(key) for key in vector["keys"].split(" ")]
    threshold_of(signatures, keys, int(vector["threshold"]), message("gigmcp index v2", document))
    names = ["schemaVersion", "sequence", "generated", "expires", "servers"]
    schema, sequence, generated, expires, servers = fields(read_json(document, "parse"), names, "parse")
    need(schema == 2 and isinstance(sequence, int) and 0 <= sequence < 2**64, "parse")
    generated, expires = moment(generated, "parse"), moment(expires, "parse")
    need(generated < expires, "parse")
    return fresh(sequence, generated, expires, document, servers, now, seen)


def check_original(vector, document, now, seen):
    (key,) = [public_key(key) for key in vector["keys"].split(" ")]
    signature = unhex(vector["signature"], 64, "signature")
    need(verifies(key, document, signature), "signature")
    schema, generated, servers = fields(read_json(document, "parse"), ["schemaVersion", "generated", "servers"], "parse")
    need(schema == 1, "parse")
    generated = moment(generated, "parse")
    expires = generated + datetime.timedelta(seconds=int(vector["lifetime"]))
    sequence = int((generated - datetime.datetime(1970, 1, 1)).total_seconds())
    return fresh(sequence, generated, expires, document, servers, now, seen)


def read_root(document):
    names = ["schemaVersion", "version", "expires", "root", "index"]
    schema, version, expires, root, index = fields(read_json(document, "parse"), names, "parse")
    need(schema == 1 and isinstance(version, int) and 1 <= version < 2**64, "parse")
    moment(expires, "parse")
    roles = []
    for role in (root, index):
        threshold, keys = fields(role, ["threshold", "keys"], "parse")
        need(isinstance(keys, list) and len(set(keys)) == len(keys) and isinstance(threshold, int), "parse")
        try:
            raw = [public_key(key) for key in keys]
        except Refused:
            raise Refused("parse") from None
        need(1 <= threshold <= len(keys), "parse")
        need(keys == sorted(keys), "canonical")
        roles.append((raw, threshold))
    ordered = {"schemaVersion": 1, "version": version, "expires": expires}
    for name, role in (("root", root), ("index", index)):
        ordered[name] = {"threshold": role["threshold"], "keys": role["keys"]}
    need(json.dumps(ordered, separators=(",", ":")).encode() == document, "canonical")
    return version, roles[0]


def check_root(vector, document):
    """Follows the root before, or is pinned if there is none."""
    signatures = read_signatures(vector["signatures"])
    signed = message("gigmcp root v1", document)
    if "before" in vector:
        before, (keys, threshold) = read_root(vector["before"].encode())
        threshold_of(signatures, keys, threshold, signed)
    version, (keys, threshold) = read_root(document)
    if "before" in vector:
        need(version == before + 1, "version")
    threshold_of(signatures, keys, threshold, signed)


def read_vector(path):
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines.pop() == "", f"{path}: no newline at the end"
    return dict(line.split(": ", 1) for line in lines)


def check_signing(vector, document):
    """Ed25519 is deterministic: whoever signs with these seeds makes these bytes."""
    seeds = [bytes.fromhex(seed) for seed in vector["seeds"].split(" ")]
    private = [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]
    if vector["kind"] == "original":
        assert private[0].sign(document).hex() == vector["signature"], "another signature"
        return
    signed = message({"index": "gigmcp index v2", "root": "gigmcp root v1"}[vector["kind"]], document)
    assert signed.hex() == vector["message"], "another message is signed"
    public = [key.public_key().public_bytes_raw() for key in private]
    entries = [{"keyId": key_id(key), "signature": own.sign(signed).hex()} for key, own in zip(public, private)]
    assert json.dumps({"signatures": entries}, separators=(",", ":")) == vector["signatures"], "other signatures"


def check(vector):
    document = vector["document"].encode()
    try:
        if vector["kind"] == "root":
            check_root(vector, document)
        else:
            now = moment(vector["now"], "now")
            seen = json.loads(vector["last-seen"]) if "last-seen" in vector else None
            found = {"index": check_index, "original": check_original}[vector["kind"]](vector, document, now, seen)
        expect, step = "success", "none"
    except Refused as refused:
        expect, step = "refused", str(refused)
    assert (expect, step) == (vector["expect"], vector["step"]), f"{expect} at {step}"
    if expect == "success":
        check_signing(vector, document)
        if vector["kind"] != "root":
            assert found == json.loads(vector["seen"]), "something else was seen"
    return step


def main(directory):
    steps = {}
    for path in sorted((directory / "registry").glob("*.txt")):
        try:
            step = check(read_vector(path))
        except (AssertionError, Refused, KeyError, ValueError) as problem:
            sys.exit(f"{path}: {problem!r}")
        steps[step] = steps.get(step, 0) + 1
    print(" ".join(f"{step}={count}" for step, count in sorted(steps.items())))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
