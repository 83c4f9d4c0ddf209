"""Signs in: with one of several keys or sessions at a time, as one alone may not ask as often."""

import itertools
import os

import schemathesis

CALLERS = itertools.cycle(os.environ["CALLERS"].split())


@schemathesis.auth(refresh_interval=None)
class Caller:
    def get(self, case, ctx):
        return next(CALLERS)

    def set(self, case, data, ctx):
        if data.startswith("gigk_"):
            case.headers["Authorization"] = f"Bearer {data}"
        elif ":" in data:
            session, csrf = data.split(":")
            case.cookies["gig_session"] = session
            case.headers["x-csrf-token"] = csrf
            # A session is good in the browser that it began in, which said nothing of itself.
            case.headers["User-Agent"] = ""
