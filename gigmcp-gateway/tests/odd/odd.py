"""MCP servers that misbehave, each in one way, named by the first argument."""

import ctypes
import json
import os
import signal
import sys
import time

MODE = sys.argv[1]
out = sys.stdout.buffer


def send(message):
    out.write(json.dumps(message).encode() + b"\n")
    out.flush()


def called(request):
    name = request["params"]["name"]
    if name == "good":
        send({"jsonrpc": "2.0", "id": request["id"], "result": {"content": [{"type": "text", "text": "fine"}]}})
    elif MODE == "dies":
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)
    elif MODE == "forbidden":
        ctypes.CDLL(None).swapoff(b"/nowhere")
    elif MODE == "namespaces":
        # CLONE_NEWUSER, a thousand times, and what came of the last
        refused = [ctypes.CDLL(None, use_errno=True).unshare(0x10000000) for _ in range(1000)][-1]
        text = "refused with %d" % ctypes.get_errno() if refused else "it was let"
        send({"jsonrpc": "2.0", "id": request["id"], "result": {"content": [{"type": "text", "text": text}]}})
    elif MODE == "slow":
        time.sleep(3600)
    elif MODE == "huge":
        block = b"x" * (1 << 20)
        out.write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"' % request["id"])
        for _ in range(1024):
            out.write(block)
        out.write(b'"}]}}\n')
        out.flush()
    elif MODE == "bytes":
        out.write(b"\xff\xfe\xfd not text\n")
        send({"jsonrpc": "2.0", "id": request["id"], "result": {"content": [{"type": "text", "text": "after"}]}})


if MODE == "silent":
    print("I will \x1b[31mnever\x1b[0m answer", file=sys.stderr, flush=True)
    time.sleep(3600)



def asked_to_end(number, frame):
    with open("/state/asked", "w") as file:
        file.write(str(number))
    os._exit(0)


def asks(request):
    send({"jsonrpc": "2.0", "id": "who", "method": "elicitation/create", "params": {"message": "Who?"}})
    answer = json.loads(sys.stdin.readline())
    text = "refused" if "error" in answer else "answered"
    send({"jsonrpc": "2.0", "id": request["id"], "result": {"content": [{"type": "text", "text": text}]}})


if MODE == "late":
    time.sleep(float(sys.argv[2]))

if MODE == "gated":
    with open("/state/starts", "a") as file:
        file.write("started\n")
    print("at the gate", file=sys.stderr, flush=True)
    while not os.path.exists("/state/open"):
        time.sleep(0.01)

if MODE == "polite":
    signal.signal(signal.SIGTERM, asked_to_end)

if MODE == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

if MODE == "undying":
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        # A child that is nobody's: another session, no pipe.
        os.setsid()
        os.close(0)
        os.close(1)
        time.sleep(3600)

if MODE == "hungry":
    kept = b"x" * (128 << 20)

for line in sys.stdin:
    request = json.loads(line)
    method = request.get("method")
    if MODE == "strict" and method == "server/discover":
        # As servers on old kits do at what they do not know.
        os._exit(1)
    if method == "initialize":
        version = request["params"]["protocolVersion"]
        info = {"name": "odd", "version": "1"}
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
        send({"jsonrpc": "2.0", "id": request["id"], "result": result})
    elif method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("good", "odd")]
        if MODE == "odd-tool":
            tools += [{"name": "no-schema"}, {"inputSchema": {"type": "object"}}, 7]
        send({"jsonrpc": "2.0", "id": request["id"], "result": {"tools": tools}})
    elif method == "tools/call" and MODE == "asks":
        asks(request)
    elif method == "tools/call":
        called(request)

if MODE == "undying":
    # Its input has ended, and so it should.
    print("it goes on", file=sys.stderr, flush=True)
    time.sleep(3600)
