"""Tries to get out of a sandbox. Each attempt prints one line: its name and `done`, or why it was not.

    hostile.py victim FOLDER      is what strangers should not reach: prints where it is, and waits
    hostile.py attempt FACTS NAME...
"""
import ctypes, errno, fcntl, json, mmap, os, platform, resource, signal, socket, struct, sys, tempfile, termios, time

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
# Number of a call on x86_64, on aarch64.
CALLS = dict(
    ptrace=(101, 117), syslog=(103, 116), acct=(163, 89), init_module=(175, 105), add_key=(248, 217), keyctl=(250, 219),
    kexec_load=(246, 104), mount=(165, 40), umount2=(166, 39), pivot_root=(155, 41), unshare=(272, 97), setns=(308, 268), clone=(56, 220),
    clone3=(435, 435), open_tree=(428, 428), fsopen=(430, 430), perf=(298, 241), bpf=(321, 280), userfaultfd=(323, 282),
    io_uring=(425, 425), name_to_handle=(303, 264), open_by_handle=(304, 265), readv=(310, 270), pidfd_open=(434, 434),
    pidfd_getfd=(438, 438), fanotify=(300, 262), iopl=(172, None), personality=(135, 92), swapon=(167, 224), sched_setattr=(314, 274),
    kcmp=(312, 272), clock_settime=(227, 112), shmget=(29, 194), quotactl=(179, 60), reboot=(169, 142), move_pages=(279, 239),
    memfd_secret=(447, 447), adjtimex=(159, 171), capset=(126, 91),
)
NEWUSER, NEWNET, NEWNS, NEWPID = 0x10000000, 0x40000000, 0x00020000, 0x20000000


def call(name, *args):
    number = CALLS[name][0 if X86 else 1]
    if number is None:
        raise OSError(errno.ENOSYS, "no such call here")
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def reached(name, *args):
    """A call that harms nobody with these arguments, but that the kernel looked at."""
    try:
        call(name, *args)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise


def read(path, size=64):
    with open(path, "rb") as file:
        got = file.read(size)
    assert got, "it was empty"
    return got


def same(path):
    """Writes what is there: a setting that can be written can be changed."""
    with open(path, "r+b", buffering=0) as file:
        value = file.read()
        file.seek(0)
        file.write(value)


def create(path):
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)


def buffer(size=4096):
    return ctypes.create_string_buffer(size)


def sock(family, kind=socket.SOCK_STREAM, protocol=0):
    return socket.socket(family, kind, protocol)


def connect(family, address, kind=socket.SOCK_STREAM):
    with sock(family, kind) as s:
        s.settimeout(2)
        s.connect(address)


# ---- what is tried; `f` are the facts of the victim

def other_family(f):
    for family in range(2, 46):
        if family in (2, 10, 16, 17, 38, 40):
            continue  # each has its own attempt
        for kind in (1, 2, 3, 5):
            try:
                sock(family, kind).close()
                return
            except OSError:
                pass
    raise OSError(errno.EAFNOSUPPORT, "no other family")


def packet(f):
    sock(17, socket.SOCK_RAW, 0x0300).close()


def alg(f):
    with sock(38, socket.SOCK_SEQPACKET) as s:
        s.bind(("hash", "sha256"))


def interfaces(f):
    names = [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]]
    assert [n for n in names if n != "lo"], "there is but a loopback"


def victims_memory(f):
    with open(f"/proc/{f['pid']}/mem", "rb") as memory:
        memory.seek(f["address"])
        assert memory.read(6) == b"secret", "it is another's"


def victims_memory_by_call(f):
    mine = buffer(6)
    local = (ctypes.c_void_p * 2)(ctypes.addressof(mine), 6)
    remote = (ctypes.c_void_p * 2)(f["address"], 6)
    call("readv", f["pid"], local, 1, remote, 1, 0)
    assert mine.raw == b"secret", "it is another's"


def victims_arguments(f):
    assert b"victim" in read(f"/proc/{f['pid']}/cmdline", 4096), "it is another's"


def victims_memory_segment(f):
    call("shmget", f["segment"], 4096, 0)


def some_process(f):
    mine = {os.getpid(), os.getppid(), 1}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) not in mine and b"victim" in open(f"/proc/{pid}/cmdline", "rb").read():
            return
    raise OSError(errno.ESRCH, "none of others is to be seen")


def kill_victim(f):
    os.kill(f["pid"], signal.SIGUSR1)


def duplicate_from_parent(f):
    fd = call("pidfd_open", os.getppid(), 0)
    call("pidfd_getfd", fd, 1, 0)


def mount_memory(f):
    folder = tempfile.mkdtemp()
    call("mount", b"none", folder.encode(), b"tmpfs", 0, None)
    call("umount2", folder.encode(), 0)


def pivot(f):
    call("unshare", NEWNS)
    folder = tempfile.mkdtemp()
    call("mount", b"none", b"/", b"none", 0x44000, None)
    call("mount", b"none", folder.encode(), b"tmpfs", 0, None)
    os.mkdir(folder + "/old")
    call("pivot_root", folder.encode(), (folder + "/old").encode())


def clone3_user(f):
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, ...
    arguments = ctypes.create_string_buffer(struct.pack("8Q", NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0))
    if call("clone3", arguments, 64) == 0:
        os._exit(0)


def clone_user(f):
    if call("clone", NEWUSER | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)


def enter_net(f):
    with open("/proc/self/ns/net") as namespace:
        call("setns", namespace.fileno(), NEWNET)


def new_device(f):
    path = os.path.join(tempfile.mkdtemp(), "memory")
    os.mknod(path, 0o20600, os.makedev(1, 1))
    os.unlink(path)


def disk(f):
    for line in open("/proc/partitions").readlines()[2:]:
        name = line.split()[3]
        try:
            read(f"/dev/{name}", 512)
            return
        except (OSError, AssertionError):
            pass
    raise OSError(errno.ENODEV, "no disk can be read")


def make_map(f):
    call("bpf", 0, struct.pack("IIIII", 2, 4, 4, 1, 0) + bytes(100), 120)


def ring(f):
    call("io_uring", 4, buffer(256))


def measure(f):
    # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, of this process.
    call("perf", struct.pack("IIQ", 1, 112, 0) + bytes(96), 0, -1, -1, 0)


def by_handle(f):
    handle = struct.pack("Ii", 128, 0) + bytes(128)
    handle = ctypes.create_string_buffer(handle)
    folder = os.open(".", os.O_RDONLY)
    call("name_to_handle", folder, b"", handle, ctypes.byref(ctypes.c_int()), 0x1000)
    call("open_by_handle", folder, handle, 0)


def type_for_others(f):
    os.setsid()
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    fcntl.ioctl(slave, termios.TIOCSTI, b"x")


def set_clock(f):
    time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))


def call_32_bit(f):
    # mov eax, 20 (getpid of the 32-bit table); int 0x80; ret
    if not X86:
        raise OSError(errno.ENOSYS, "no such interface here")
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    assert ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid(), "no such interface here"


def call_x32(f):
    if libc.syscall(ctypes.c_long(0x40000000 + 39)) < 0:
        raise OSError(ctypes.get_errno(), "no such interface here")


def to_root(f):
    """A program that belongs to root and takes its rights: as an ordinary account outside, as what one is inside."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    out = os.popen(f["setuid"] + " -u").read().strip()
    assert out == "0", f"it ran as {out}"


def raise_limit(f):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))


def core_dump(f):
    # With any other limit a handler of the machine gets it, or a file is written.
    if resource.getrlimit(resource.RLIMIT_CORE) == (1, 1):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def less_killable(f):
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-500")


def capabilities(f):
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    assert int(status["CapEff"], 16) or int(status["CapBnd"], 16), "it has none"


def own_group(f):
    for tree in ["/sys/fs/cgroup", *(f"/sys/fs/cgroup/{name}" for name in ("pids", "memory", "unified"))]:
        try:
            os.close(os.open(f"{tree}/cgroup.procs", os.O_WRONLY))
            return
        except FileNotFoundError:
            pass
    raise OSError(errno.ENOENT, "no group is to be seen")


def mount_groups(f):
    folder = tempfile.mkdtemp()
    call("mount", b"none", folder.encode(), b"cgroup2", 0, None)
    call("umount2", folder.encode(), 0)


def hard_link(f):
    os.link(f["setuid"], f["setuid"] + "-too")
    os.unlink(f["setuid"] + "-too")


def through_others(f):
    for pid in 1, f["pid"]:
        try:
            return read(f"/proc/{pid}/root" + f["secret"])
        except OSError as error:
            last = error
    raise last


def change_bind(f):
    create(os.path.join(os.path.dirname(f["setuid"]), "new"))


def real_time(f):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def deadline(f):
    call("sched_setattr", 0, struct.pack("IIQiIQQQ", 48, 6, 0, 0, 0, 10**6, 10**7, 10**7), 0)


def become(f):
    os.setresuid(0, 0, 0)


def kept_open(f):
    """Something of the node's that is still open leads out by its folder."""
    for fd in os.listdir("/proc/self/fd"):
        try:
            os.close(os.open(f["secret"].lstrip("/"), os.O_RDONLY, dir_fd=int(fd)))
            return
        except (OSError, ValueError):
            pass
    raise OSError(errno.ENOENT, "nothing leads out")


ATTEMPTS = {
    "read a file of the host": lambda f: read(f["secret"]),
    "read the passwords of the host": lambda f: read("/etc/shadow"),
    "see the accounts of the host": lambda f: read("/etc/passwd").index(b"root:"),
    "list root's folder": lambda f: os.listdir("/root"),
    "read the host's devices from /sys": lambda f: os.listdir("/sys/class"),
    "reach files through other processes": through_others,
    "reach files through what is still open": kept_open,
    "see other processes": some_process,
    "read another process's arguments": victims_arguments,
    "signal another process": kill_victim,
    "read another process's memory by /proc": victims_memory,
    "read another process's memory by a call": victims_memory_by_call,
    "attach to another process": lambda f: call("ptrace", 0x4206, f["pid"], 0, 0),
    "be traced": lambda f: call("ptrace", 0, 0, 0, 0),
    "compare with another process": lambda f: call("kcmp", os.getpid(), os.getppid(), 2, 0, 0),
    "take an open file of another process": duplicate_from_parent,
    "use another's shared memory": victims_memory_segment,
    "connect by IPv4": lambda f: connect(socket.AF_INET, ("127.0.0.1", f["port"])),
    "connect by IPv6": lambda f: connect(socket.AF_INET6, ("::1", f["port6"])),
    "send a datagram": lambda f: sock(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", f["port"])),
    "send raw packets": lambda f: sock(socket.AF_INET, socket.SOCK_RAW, 1).close(),
    "send packets past the network": packet,
    "ask the kernel by netlink": lambda f: sock(socket.AF_NETLINK, socket.SOCK_RAW, 0).close(),
    "use the kernel's cryptography": alg,
    "reach the hypervisor by vsock": lambda f: sock(40).close(),
    "use any other family of sockets": other_family,
    "see network interfaces": interfaces,
    "connect to an abstract Unix socket": lambda f: connect(socket.AF_UNIX, "\0" + f["abstract"]),
    "connect to a Unix socket by its path": lambda f: connect(socket.AF_UNIX, f["socket"]),
    "mount": mount_memory,
    "mount control groups": mount_groups,
    "mount by the new interface": lambda f: os.close(call("fsopen", b"tmpfs", 0)),
    "clone a mount": lambda f: os.close(call("open_tree", -100, b"/proc", 1)),
    "change the root by pivot_root": pivot,
    "change the root by chroot": lambda f: os.chroot("/"),
    "make a user namespace": lambda f: call("unshare", NEWUSER),
    "make a user namespace by clone": clone_user,
    "make a user namespace by clone3": clone3_user,
    "make a network namespace": lambda f: call("unshare", NEWNET),
    "make a process namespace": lambda f: call("unshare", NEWPID),
    "enter a namespace": enter_net,
    "make a device": new_device,
    "read a disk": disk,
    "read the kernel's messages": lambda f: os.close(os.open("/dev/kmsg", os.O_RDONLY)),
    "read the kernel's messages by a call": lambda f: call("syslog", 3, buffer(), 4096),
    "load a program into the kernel": make_map,
    "load a module": lambda f: reached("init_module", 0, 0, b""),
    "load another kernel": lambda f: reached("kexec_load", 0, 99, 0, 0),
    "restart the machine": lambda f: reached("reboot", 1, 2, 3, 0),
    "swap to a file": lambda f: reached("swapon", b"/nowhere", 0),
    "account for processes": lambda f: call("acct", None),
    "set quotas": lambda f: reached("quotactl", 0x800000 << 8, None, 0, None),
    "store a key in the kernel": lambda f: call("add_key", b"user", b"starling", b"x", 1, -2),
    "use io_uring": ring,
    "handle page faults": lambda f: os.close(call("userfaultfd", 0)),
    "measure the processor": measure,
    "watch all files": lambda f: os.close(call("fanotify", 0, 0)),
    "open by handle": by_handle,
    "hide memory from the kernel": lambda f: reached("memfd_secret", 0),
    "write core_pattern": lambda f: same("/proc/sys/kernel/core_pattern"),
    "write a setting of memory": lambda f: same("/proc/sys/vm/overcommit_memory"),
    "write a setting of the network": lambda f: same("/proc/sys/net/ipv4/ip_default_ttl"),
    "write to sysrq": lambda f: os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY)),
    "be killed last": less_killable,
    "have capabilities": capabilities,
    "become root by a call": become,
    "become root by a program": to_root,
    "change groups": lambda f: os.setgroups([0]),
    "run in real time": real_time,
    "run with a deadline": deadline,
    "run before others": lambda f: os.setpriority(os.PRIO_PROCESS, 0, -5),
    "raise a limit": raise_limit,
    "hand a core dump to the machine": core_dump,
    "type for others into a terminal": type_for_others,
    "set the clock": set_clock,
    "set the host's name": lambda f: socket.sethostname(socket.gethostname()),
    "use ports of the machine": lambda f: call("iopl", 3),
    "fix addresses": lambda f: call("personality", 0x40000),
    "call by the 32-bit interface": call_32_bit,
    "call by the x32 interface": call_x32,
    "leave the control group": own_group,
    "write into the system": lambda f: create("/usr/new"),
    "write beside the system": lambda f: create("/new"),
    "write into /etc": lambda f: create("/etc/new"),
    "write into /dev": lambda f: create("/dev/new"),
    "write into what is bound to be read": change_bind,
    "link to a file of others": hard_link,
}


def attempt(facts, name):
    """In a process of its own, for some do not return; what it printed."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        signal.alarm(10)
        try:
            ATTEMPTS[name](facts)
            outcome = "done"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        os.write(theirs, outcome.encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        outcome = pipe.read()
    _, status = os.waitpid(child, 0)
    return outcome or f"killed by signal {status & 127}"


def victim(folder):
    secret = ctypes.create_string_buffer(b"secret")
    path = os.path.join(folder, "secret")
    with open(path, "w") as file:
        file.write("secret")
    os.chmod(path, 0o644)
    servers = []
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_INET6, ("::1", 0)),
        (socket.AF_UNIX, "\0starling-%d" % os.getpid()),
        (socket.AF_UNIX, os.path.join(folder, "socket")),
    ):
        try:
            server = sock(family)
            server.bind(address)
            server.listen(64)
            servers.append(server)
        except OSError:
            servers.append(None)  # a machine without IPv6
    os.chmod(os.path.join(folder, "socket"), 0o777)
    segment = 0x57A70000 + os.getpid() % 0x10000
    identity = call("shmget", segment, 4096, 0o1666)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    facts = dict(
        pid=os.getpid(), address=ctypes.addressof(secret), secret=path, segment=segment, port=servers[0].getsockname()[1],
        port6=servers[1].getsockname()[1] if servers[1] else 1, abstract="starling-%d" % os.getpid(), socket=os.path.join(folder, "socket"),
    )
    print(json.dumps(facts), flush=True)
    sys.stdin.read()
    libc.shmctl(identity, 0, None)


if sys.argv[1] == "victim":
    victim(sys.argv[2])
else:
    facts = json.loads(sys.argv[2])
    for name in sys.argv[3:] or ATTEMPTS:
        print(f"{name}\t{attempt(facts, name)}", flush=True)
