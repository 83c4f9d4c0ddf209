"""The work of a typical server on Python. Prints one line a job; `sys.argv[1]` is the URL to fetch."""

import asyncio
import concurrent.futures
import hashlib
import mmap
import multiprocessing
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import urllib.request


def square(number):
    return number * number


def files():
    with tempfile.TemporaryDirectory() as name:
        dir = pathlib.Path(name)
        (dir / "a").write_text("x" * 100_000)
        shutil.copy2(dir / "a", dir / "b")
        os.replace(dir / "b", dir / "c")
        os.utime(dir / "c", (1, 2))
        with open(dir / "c", "r+b") as file:
            os.fsync(file.fileno())
            with mmap.mmap(file.fileno(), 0) as mapped:
                mapped[:1] = b"y"
        database = sqlite3.connect(dir / "database")
        database.execute("pragma journal_mode=wal")
        database.execute("create table t (n)")
        database.execute("insert into t values (7)")
        database.commit()
        found = database.execute("select n from t").fetchone()[0]
        database.close()
        ours, theirs = socket.socketpair()
        with open(dir / "a", "rb") as file:
            sent = ours.sendfile(file, count=1000)
        print("sendfile", sent, len(theirs.recv(2000)))
        print("files", ",".join(sorted(path.name for path in dir.iterdir())), (dir / "c").stat().st_size, found)


def threads():
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        total = sum(pool.map(square, [1, 2, 3]))
    wakes = threading.Event()
    threading.Timer(0.001, wakes.set).start()
    print("threads", total, wakes.wait(10))


def children():
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        total = sum(pool.map(square, [1, 2, 3]))
    echoed = subprocess.run(["cat"], input="through a child", capture_output=True, text=True).stdout
    stopped = subprocess.Popen(["sleep", "60"], start_new_session=True)
    stopped.terminate()
    print("children", total, echoed, signal.Signals(-stopped.wait()).name)


async def loop():
    process = await asyncio.create_subprocess_exec("echo", "from a loop", stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    with tempfile.TemporaryDirectory() as name:
        path = os.path.join(name, "s")

        async def answer(_, writer):
            with tempfile.TemporaryFile() as file:
                file.write(b"over a socket")
                file.seek(0)
                await asyncio.get_running_loop().sendfile(writer.transport, file)
            writer.close()

        async with await asyncio.start_unix_server(answer, path):
            reader, writer = await asyncio.open_unix_connection(path)
            heard = await reader.read()
            writer.close()
    print("loop", said.decode().strip(), heard.decode())


def network(url):
    ssl.create_default_context()
    print("hash", len(hashlib.sha256(os.urandom(1000)).digest()))
    host = urllib.parse.urlsplit(url).hostname
    print("lookup", socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM, family=socket.AF_INET)[0][4][0])
    print("fetch", urllib.request.urlopen(url).read().decode().strip())


if __name__ == "__main__":
    files()
    threads()
    children()
    asyncio.run(loop())
    network(sys.argv[1])
