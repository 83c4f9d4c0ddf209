#!/usr/bin/env python3
"""Reads FORMAT.md's vectors with an implementation that shares nothing with the Rust one.

HKDF, HMAC and the hashes are Python's own; ChaCha20-Poly1305 and Argon2id are OpenSSL's, by the package `cryptography`;
XChaCha20 is made of them here, after draft-irtf-cfrg-xchacha-03. Prints how many vectors were read, or fails with the first
that does not do what it says.

usage: check.py DIRECTORY   (gigmcp-vault/vectors)
"""

import hashlib
import hmac
import pathlib
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

PREFIX = b"GMV1\x01\x00"
MAX_SECRET_BYTES = 65536


class Refused(Exception):
    """With the step at which it was noticed."""


def rotate(value, bits):
    return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF


def hchacha20(key, nonce):
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter(a, b, c, d):
        state[a] = (state[a] + state[b]) & 0xFFFFFFFF
        state[d] = rotate(state[d] ^ state[a], 16)
        state[c] = (state[c] + state[d]) & 0xFFFFFFFF
        state[b] = rotate(state[b] ^ state[c], 12)
        state[a] = (state[a] + state[b]) & 0xFFFFFFFF
        state[d] = rotate(state[d] ^ state[a], 8)
        state[c] = (state[c] + state[d]) & 0xFFFFFFFF
        state[b] = rotate(state[b] ^ state[c], 7)

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for diagonal in range(4):
            quarter(diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4)
    return struct.pack("<8I", *state[:4], *state[12:])


def xchacha(key, nonce):
    """The cipher and the nonce that is left for it."""
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])), b"\0\0\0\0" + nonce[16:]


def encrypt(key, nonce, associated_data, plaintext):
    cipher, rest = xchacha(key, nonce)
    return cipher.encrypt(rest, plaintext, associated_data)


def decrypt(key, nonce, associated_data, ciphertext, step):
    cipher, rest = xchacha(key, nonce)
    try:
        return cipher.decrypt(rest, ciphertext, associated_data)
    except InvalidTag:
        raise Refused(step) from None


def with_length(field):
    return struct.pack(">I", len(field)) + field


def encode_context(tenant, vault, secret, version, purpose, created_at, policy_hash):
    number = lambda value: struct.pack(">Q", value)
    fields = [tenant.encode(), vault.encode(), secret.encode(), number(version), purpose.encode(), number(created_at), policy_hash]
    return b"".join(with_length(field) for field in fields)


def policy_hash(fields):
    hashed = with_length(b"gmv1 policy")
    for name, values in fields:
        hashed += with_length(name.encode()) + struct.pack(">I", len(values))
        hashed += b"".join(with_length(value.encode()) for value in values)
    return hashlib.sha256(hashed).digest()


def derive(data_key, salt, nonce, context):
    info = hashlib.sha512(PREFIX + salt + nonce + context).digest()
    extracted = hmac.digest(salt, data_key, "sha512")
    expand = lambda label: hmac.digest(extracted, label + info + b"\x01", "sha512")[:32]
    return info, expand(b"gmv1 enc"), expand(b"gmv1 commit")


def bound(key_id, key_version, salt, commitment, context):
    return PREFIX + key_id + struct.pack(">I", key_version) + salt + commitment + hashlib.sha512(context).digest()


def seal(key_id, key_version, key, context, plaintext, data_key, salt, nonce, wrap_nonce):
    info, encryption_key, commitment = derive(data_key, salt, nonce, context)
    wrapped = encrypt(key, wrap_nonce, bound(key_id, key_version, salt, commitment, context), data_key)
    body = encrypt(encryption_key, nonce, info, plaintext)
    head = PREFIX + key_id + struct.pack(">I", key_version) + wrap_nonce + wrapped
    return head + salt + commitment + nonce + struct.pack(">I", len(plaintext)) + body


def unseal(sealed, keys, minimum_version, context):
    """keys: (id, version) to key."""
    if len(sealed) < 206 or sealed[:6] != PREFIX:
        raise Refused("layout")
    key_id, key_version = sealed[6:22], struct.unpack(">I", sealed[22:26])[0]
    wrap_nonce, wrapped, salt, commitment, nonce = sealed[26:50], sealed[50:98], sealed[98:130], sealed[130:162], sealed[162:186]
    length = struct.unpack(">I", sealed[186:190])[0]
    if length > MAX_SECRET_BYTES or len(sealed) != 206 + length:
        raise Refused("layout")
    key = keys.get((key_id, key_version))
    if key is None or key_version < minimum_version:
        raise Refused("key")
    data_key = decrypt(key, wrap_nonce, bound(key_id, key_version, salt, commitment, context), wrapped, "unwrap")
    info, encryption_key, derived = derive(data_key, salt, nonce, context)
    if not hmac.compare_digest(derived, commitment):
        raise Refused("commitment")
    return decrypt(encryption_key, nonce, info, sealed[190:], "body")


def read_vector(path):
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines.pop() == "", f"{path}: no newline at the end"
    return dict(line.split(": ", 1) for line in lines)


def check_sealed(vector):
    raw = lambda name: bytes.fromhex(vector[name])
    number = lambda name: int(vector[name])
    tenant, vault, secret, purpose = (vector[name] for name in ("tenant", "vault", "secret", "purpose"))
    context = encode_context(tenant, vault, secret, number("version"), purpose, number("created-at"), raw("policy-hash"))
    assert context == raw("context"), "the context is encoded differently"
    keys = {(raw("key-id"), number("key-version")): raw("key")}
    try:
        plaintext = unseal(raw("sealed"), keys, number("minimum-version"), context)
        expect, step = "success", "none"
    except Refused as refused:
        plaintext, expect, step = None, "refused", str(refused)
    assert (expect, step) == (vector["expect"], vector["step"]), f"{expect} at {step}"
    if expect == "success":
        assert plaintext == raw("plaintext"), "another plaintext"
        made = seal(
            raw("key-id"), number("key-version"), raw("key"), context, plaintext,
            raw("data-key"), raw("salt"), raw("nonce"), raw("wrap-nonce"),
        )
        assert made == raw("sealed"), "sealing gives other bytes"
    return step


def read_key_file(text):
    """Version to (id, key), and the minimum version."""
    *lines, digest = text.removesuffix("\n").split("\n")
    signed = "".join(line + "\n" for line in lines)
    assert digest == "digest " + hashlib.sha256(signed.encode()).hexdigest(), "the digest"
    header, minimum, *keys = lines
    assert header == "gigmcp-vault-keys 1", header
    words = [line.split(" ") for line in keys]
    assert [word[0] for word in words] == ["active"] + ["retired"] * (len(words) - 1)
    return {int(version): (key_id, key) for _, version, key_id, key in words}, int(minimum.removeprefix("minimum-version "))


def check_key_file(path):
    vector = read_vector(path.with_suffix(".txt"))
    expected = {int(version): (key_id, key) for version, key_id, key in (words.split(" ") for words in vector["keys"].split(", "))}
    text = path.read_text(encoding="ascii")
    if vector["kind"] == "plain":
        plain = text
    else:
        header, wrapped, keys = text.removesuffix("\n").split("\n")
        assert header == "gigmcp-vault-wrapped-keys 1", header
        name, kind, wrapped = wrapped.split(" ")
        assert (name, kind) == ("wrapped-key", vector["kind"]), kind
        context = lambda part, fields: encode_context("gigmcp-vault", "keys", part, 1, kind, 0, policy_hash(fields))
        only = lambda key: {(bytes(16), 1): key}
        if kind == "local":
            key, fields, sealed = bytes.fromhex(vector["key"]), [("local", [])], wrapped
        else:
            *parameters, sealed = wrapped.split(":")
            memory, passes, lanes, salt = parameters
            argon2 = Argon2id(salt=bytes.fromhex(salt), length=32, iterations=int(passes), lanes=int(lanes), memory_cost=int(memory))
            key, fields = argon2.derive(vector["passphrase"].encode()), [("argon2id", parameters)]
        file_key = unseal(bytes.fromhex(sealed), only(key), 1, context("file-key", fields))
        plain = unseal(bytes.fromhex(keys.removeprefix("keys ")), only(file_key), 1, context("key-ring", [])).decode("ascii")
    assert read_key_file(plain) == (expected, int(vector["minimum-version"])), "another ring"


def main(directory):
    # draft-irtf-cfrg-xchacha-03, section 2.2.1, so that this program does not agree with itself only.
    subkey = hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927"))
    assert subkey.hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc", subkey.hex()
    steps = {}
    for path in sorted((directory / "gmv1").glob("*.txt")):
        try:
            step = check_sealed(read_vector(path))
        except (AssertionError, Refused, KeyError, ValueError) as problem:
            sys.exit(f"{path}: {problem}")
        steps[step] = steps.get(step, 0) + 1
    for path in sorted((directory / "keys").glob("*.keys")):
        try:
            check_key_file(path)
        except (AssertionError, Refused, KeyError, ValueError) as problem:
            sys.exit(f"{path}: {problem}")
        steps["key-file"] = steps.get("key-file", 0) + 1
    print(" ".join(f"{step}={count}" for step, count in sorted(steps.items())))


main(pathlib.Path(sys.argv[1]))
