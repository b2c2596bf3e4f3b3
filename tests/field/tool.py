"""Runs the command under test, and holds each run to the rules that hold for all of them.

The rules: it ends by itself, before its deadline and within its memory; it exits 0 or 1; with 0 it says
nothing but notes on standard error, with 1 it says why, on one line; it never shows a panic.
"""

import collections
import contextlib
import dataclasses
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time

MIB = 1 << 20
PANIC = re.compile(r"panicked at|RUST_BACKTRACE|overflowed its stack|unreachable code|Option::unwrap|Result::unwrap")
# Words that mean a failed conversion. No text that the suite makes contains them.
PROSE = re.compile(rb"ERROR|<invalid>|[Cc]ast error|[Ff]ailed to|out of range|[Oo]verflow|[Cc]annot|panicked")


class Wrong(Exception):
    """A fault. Findings with the same `sign` count as one; `detail` says what was seen."""

    def __init__(self, sign, detail=""):
        super().__init__(sign, detail)
        self.sign = sign
        self.detail = str(detail)


@dataclasses.dataclass
class Ran:
    """What one run of the command did."""

    code: int
    out: bytes
    err: str
    peak: int  # bytes of memory at most; no less than the suite's own when it started the command
    seconds: float

    @property
    def why(self):
        """The line that says why it could not be done."""
        return self.err.splitlines()[-1].removeprefix("faretra: ") if self.err else ""

    @property
    def brief(self):
        """The first words of that line, without what differs from file to file."""
        text = re.sub(r"cannot (read|write) \S+: ", "", self.why)
        text = re.sub(r"which is .*?(: use|$)", r"which is TYPE\1", text)
        text = re.sub(r"`[^`]*`|\"[^\"]*\"|'[^']*'", "`..`", text)
        return " ".join(re.sub(r"\d+", "N", text).split()[:10])


class Tool:
    """The command, an arena, and a directory for files; all of it is gone after `close`."""

    def __init__(self, binary, root):
        self.binary = str(binary)
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="w", dir=root))
        self.dir = self.root / "files"
        self.arenas = self.root / "arenas"
        self.dir.mkdir()
        self.arenas.mkdir()
        self.arena = "field"
        self.refusals = collections.Counter()
        self.found = []
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("FARETRA", "RUST"))}
        self.environment["FARETRA_DIR"] = str(self.arenas)
        self.children = set()
        self.renew()

    def renew(self):
        """Begins with an empty arena and an empty directory."""
        for path in self.arenas.iterdir():
            path.unlink()
        self.tidy()
        self.run("create", self.arena, "--limit", "2GiB")

    def tidy(self):
        """Removes all files that trials made."""
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir()

    def close(self):
        for child in list(self.children):
            with contextlib.suppress(OSError):
                child.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def path(self, name):
        return self.dir / name

    def start(self, *words, **options):
        """Starts the command and does not wait for it."""
        environment = self.environment | options.pop("env", {})
        words = [self.binary, *map(os.fspath, words)]
        child = subprocess.Popen(options.pop("under", []) + words, env=environment, **options)
        self.children.add(child)
        return child

    def run(self, *words, codes=(0, 1), deadline=60, peak=600 * MIB, stdin=None, shown=True, **options):
        """Runs the command and checks the rules; `under` is a command that runs it, as `prlimit`."""
        with tempfile.TemporaryFile(dir=self.root) as out, tempfile.TemporaryFile(dir=self.root) as err:
            began = time.monotonic()
            stdin = stdin if stdin is not None else subprocess.DEVNULL
            child = self.start(*words, stdin=stdin, stdout=out, stderr=err, **options)
            status, used = wait(child, deadline)
            self.children.discard(child)
            seconds = time.monotonic() - began
            err.seek(0)
            text = err.read(100_000).decode("utf-8", "replace")
            out.seek(0)
            ran = Ran(status, out.read(), text, used, seconds)
        verb = str(words[0])
        said = f"`faretra {' '.join(map(str, words))}` exit {status}: {text[:600]!r}"
        if status is None:
            raise Wrong(f"{verb} does not end within {deadline} s", said)
        if PANIC.search(text):
            raise Wrong(f"{verb} shows a panic: {of_panic(text)}", said)
        if status < 0:
            raise Wrong(f"{verb} is ended by {signal.Signals(-status).name}", said)
        if status not in codes:
            raise Wrong(f"{verb} exits {status}", said)
        if peak and used > max(peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1100):
            raise Wrong(f"{verb} needs more than {peak // MIB} MiB", f"{used // MIB} MiB, {said}")
        lines = text.splitlines()
        if any(not line.startswith("faretra: ") for line in lines) and shown:
            raise Wrong(f"{verb} says a line that does not begin with `faretra: `", said)
        # Notes about a CSV file's types come before the work, and so before an error too.
        errors = [line for line in lines if not re.match(r"faretra: (\S+: )?(CSV: the types|note)", line)]
        if status == 1 and len(errors) != 1 and shown:
            raise Wrong(f"{verb} exits 1 with {len(errors)} lines", said)
        return ran

    def put(self, name, path, *words, **options):
        return self.run("put", self.arena, name, path, *words, **options)

    def cat(self, name, style, *words, **options):
        ran = self.run("cat", self.arena, name, "--format", style, *words, **options)
        if ran.code == 0 and PROSE.search(ran.out):
            at = PROSE.search(ran.out).start()
            raise Wrong(f"cat {style} shows prose as a value", repr(ran.out[max(0, at - 60) : at + 120]))
        return ran

    def export(self, name, path, *words, **options):
        return self.run("export", self.arena, name, path, "--force", *words, **options)

    @contextlib.contextmanager
    def noting(self):
        """Keeps a fault in `found`, and goes on: one fault must not hide the next."""
        try:
            yield
        except Wrong as wrong:
            self.found.append(wrong)

    def refused(self, what, where, ran):
        """Counts a refusal by its kind and its first words."""
        self.refusals[what, where, ran.brief] += 1


def of_panic(text):
    """Where a panic came from and its first words, to tell it from others."""
    place = re.search(r"panicked at .*?([^/]+/[^/]+\.rs)[:\d]*\n(.*)", text)
    words = " ".join(place.groups()) if place else text[text.find("(") :]
    return " ".join(re.sub(r"\d+", "N", words).split()[:12])


def within(mib):
    """Runs a command with so much memory for its data: what it maps of the arena is not counted."""
    return ["sh", "-c", f'ulimit -d {mib << 10}; exec "$@"', "sh"]


def wait(child, deadline):
    """The exit status (None if it had to be killed) and the peak memory in bytes."""
    killed = threading.Event()

    def kill():
        killed.set()
        child.kill()

    timer = None
    try:
        fd = os.pidfd_open(child.pid)
    except OSError:
        # A kernel without these descriptors.
        timer = threading.Timer(deadline, kill)
        timer.start()
    else:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        if not poller.poll(int(deadline * 1000)):
            kill()
        os.close(fd)
    _, status, used = os.wait4(child.pid, 0)
    if timer:
        timer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    return (None if killed.is_set() else child.returncode), used.ru_maxrss * 1024
