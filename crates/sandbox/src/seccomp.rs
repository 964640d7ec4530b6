//! Which system calls a job may make: a program for the kernel's classic BPF, as the bytes that `bwrap --seccomp` reads.
//!
//! What is not named is allowed up to the newest call known here; newer ones answer that they do not exist, and so does `clone3`, whose
//! flags no filter can read (the C library then uses `clone`). Source: `seccomp(2)`, `linux/filter.h`, the kernel's tables of calls.

use crate::Network;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

const RETURN_KILL: u32 = 0x8000_0000;
const RETURN_ERROR: u32 = 0x0005_0000;
const RETURN_ALLOW: u32 = 0x7fff_0000;

/// Loads a word of `struct seccomp_data`.
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

const AT_NUMBER: u32 = 0;
const AT_ARCHITECTURE: u32 = 4;

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// Every flag of `clone` that makes a namespace.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// `SCHED_FIFO`, `SCHED_RR`, `SCHED_DEADLINE`, also with the bit that resets them on fork.
const REAL_TIME: [u32; 6] = [1, 2, 6, 0x4000_0001, 0x4000_0002, 0x4000_0006];
/// `TIOCSTI`, `TIOCLINUX`, `TIOCSETD`: they type into, paste into or take over a terminal.
const TERMINAL: [u32; 3] = [0x5412, 0x541c, 0x5423];
/// With a limit of one byte the kernel neither writes a core dump nor hands it to the machine's handler; with none it hands it on (`core(5)`).
const RLIMIT_CORE: u32 = 4;
const FILE_KIND: u32 = 0o170_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const BLOCK_DEVICE: u32 = 0o060_000;

/// Numbers of one call on `x86_64` and on `aarch64`.
pub(crate) type Numbers = (Option<u32>, Option<u32>);

/// `mseal`, the last call looked at, has one number on every architecture.
const NEWEST: u32 = 462;

/// Refused whatever their arguments are.
pub(crate) const REFUSED: &[(&str, Numbers)] = &[
    ("mount", (Some(165), Some(40))),
    ("umount2", (Some(166), Some(39))),
    ("pivot_root", (Some(155), Some(41))),
    ("chroot", (Some(161), Some(51))),
    ("move_mount", (Some(429), Some(429))),
    ("open_tree", (Some(428), Some(428))),
    ("fsopen", (Some(430), Some(430))),
    ("fsconfig", (Some(431), Some(431))),
    ("fsmount", (Some(432), Some(432))),
    ("fspick", (Some(433), Some(433))),
    ("mount_setattr", (Some(442), Some(442))),
    ("setns", (Some(308), Some(268))),
    ("unshare", (Some(272), Some(97))),
    ("ptrace", (Some(101), Some(117))),
    ("process_vm_readv", (Some(310), Some(270))),
    ("process_vm_writev", (Some(311), Some(271))),
    ("process_madvise", (Some(440), Some(440))),
    ("kcmp", (Some(312), Some(272))),
    ("pidfd_getfd", (Some(438), Some(438))),
    ("bpf", (Some(321), Some(280))),
    ("perf_event_open", (Some(298), Some(241))),
    ("userfaultfd", (Some(323), Some(282))),
    ("io_uring_setup", (Some(425), Some(425))),
    ("io_uring_enter", (Some(426), Some(426))),
    ("io_uring_register", (Some(427), Some(427))),
    ("keyctl", (Some(250), Some(219))),
    ("add_key", (Some(248), Some(217))),
    ("request_key", (Some(249), Some(218))),
    ("kexec_load", (Some(246), Some(104))),
    ("kexec_file_load", (Some(320), Some(294))),
    ("init_module", (Some(175), Some(105))),
    ("finit_module", (Some(313), Some(273))),
    ("delete_module", (Some(176), Some(106))),
    ("create_module", (Some(174), None)),
    ("reboot", (Some(169), Some(142))),
    ("swapon", (Some(167), Some(224))),
    ("swapoff", (Some(168), Some(225))),
    ("acct", (Some(163), Some(89))),
    ("quotactl", (Some(179), Some(60))),
    ("quotactl_fd", (Some(443), Some(443))),
    ("syslog", (Some(103), Some(116))),
    ("settimeofday", (Some(164), Some(170))),
    ("clock_settime", (Some(227), Some(112))),
    ("clock_adjtime", (Some(305), Some(266))),
    ("adjtimex", (Some(159), Some(171))),
    ("sethostname", (Some(170), Some(161))),
    ("setdomainname", (Some(171), Some(162))),
    ("iopl", (Some(172), None)),
    ("ioperm", (Some(173), None)),
    ("modify_ldt", (Some(154), None)),
    ("name_to_handle_at", (Some(303), Some(264))),
    ("open_by_handle_at", (Some(304), Some(265))),
    ("lookup_dcookie", (Some(212), Some(18))),
    ("nfsservctl", (Some(180), Some(42))),
    ("vhangup", (Some(153), Some(58))),
    ("sched_setattr", (Some(314), Some(274))),
    ("move_pages", (Some(279), Some(239))),
    ("migrate_pages", (Some(256), Some(238))),
    ("fanotify_init", (Some(300), Some(262))),
    ("fanotify_mark", (Some(301), Some(263))),
    ("memfd_secret", (Some(447), Some(447))),
    ("uselib", (Some(134), None)),
    ("ustat", (Some(136), None)),
    ("sysfs", (Some(139), None)),
    ("_sysctl", (Some(156), None)),
];

const CLONE: Numbers = (Some(56), Some(220));
const CLONE3: Numbers = (Some(435), Some(435));
const SOCKET: Numbers = (Some(41), Some(198));
const SOCKETPAIR: Numbers = (Some(53), Some(199));
const IOCTL: Numbers = (Some(16), Some(29));
const SCHED_SETSCHEDULER: Numbers = (Some(144), Some(119));
const PERSONALITY: Numbers = (Some(135), Some(92));
const PRLIMIT: Numbers = (Some(302), Some(261));
const SETRLIMIT: Numbers = (Some(160), Some(164));
const MKNOD: Numbers = (Some(133), None);
const MKNODAT: Numbers = (Some(259), Some(33));

/// A processor that the table of calls knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    X86,
    Arm,
}

impl Architecture {
    /// The one that this program was built for.
    pub(crate) const fn here() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Arm)
        } else {
            None
        }
    }

    fn audit_number(self) -> u32 {
        match self {
            Self::X86 => 0xc000_003e,
            Self::Arm => 0xc000_00b7,
        }
    }

    fn number(self, of: Numbers) -> Option<u32> {
        match self {
            Self::X86 => of.0,
            Self::Arm => of.1,
        }
    }
}

/// The filter for a job, as an array of `struct sock_filter`.
pub(crate) fn filter(architecture: Architecture, network: Network) -> Vec<u8> {
    let mut program = Program { architecture, steps: Vec::new() };
    program.step(LOAD, 0, 0, AT_ARCHITECTURE);
    program.step(JUMP_EQUAL, 1, 0, architecture.audit_number());
    program.step(RETURN, 0, 0, RETURN_KILL);
    program.step(LOAD, 0, 0, AT_NUMBER);
    // Newer calls, and those of the x32 interface, which have a high bit set.
    program.step(JUMP_AT_LEAST, 0, 1, NEWEST + 1);
    program.step(RETURN, 0, 0, RETURN_ERROR | ENOSYS);
    for (_, numbers) in REFUSED {
        program.refuse(*numbers, EPERM);
    }
    program.refuse(CLONE3, ENOSYS);
    let families: &[u32] = match network {
        Network::None => &[AF_UNIX],
        // A Unix socket with an abstract name would reach the host's services.
        Network::Packages => &[AF_INET, AF_INET6],
    };
    program.allow_only(SOCKET, 0, families, EAFNOSUPPORT);
    program.allow_only(SOCKETPAIR, 0, &[AF_UNIX], EAFNOSUPPORT);
    // As it is, and the question what it is.
    program.allow_only(PERSONALITY, 0, &[0, u32::MAX], EPERM);
    program.refuse_values(IOCTL, 1, None, &TERMINAL);
    program.refuse_values(SCHED_SETSCHEDULER, 1, None, &REAL_TIME);
    program.refuse_values(MKNOD, 1, Some(FILE_KIND), &[CHARACTER_DEVICE, BLOCK_DEVICE]);
    program.refuse_values(MKNODAT, 2, Some(FILE_KIND), &[CHARACTER_DEVICE, BLOCK_DEVICE]);
    program.refuse_values(SETRLIMIT, 0, None, &[RLIMIT_CORE]);
    program.for_call(PRLIMIT, 1, |program| {
        // Asking for the limit, without a new one, is allowed.
        program.step(JUMP_EQUAL, 0, 5, RLIMIT_CORE);
        program.step(LOAD, 0, 0, at_argument(2));
        program.step(JUMP_EQUAL, 0, 2, 0);
        program.step(LOAD, 0, 0, at_argument(2) + 4);
        program.step(JUMP_EQUAL, 1, 0, 0);
        program.step(RETURN, 0, 0, RETURN_ERROR | EPERM);
    });
    program.refuse_bits(CLONE, 0, NEW_NAMESPACES);
    program.step(RETURN, 0, 0, RETURN_ALLOW);
    program.steps
}

struct Program {
    architecture: Architecture,
    steps: Vec<u8>,
}

/// Where the low half of an argument lies, on these little-endian processors.
fn at_argument(index: u8) -> u32 {
    16 + 8 * u32::from(index)
}

impl Program {
    fn step(&mut self, code: u16, if_true: u8, if_false: u8, operand: u32) {
        self.steps.extend(code.to_le_bytes());
        self.steps.extend([if_true, if_false]);
        self.steps.extend(operand.to_le_bytes());
    }

    fn refuse(&mut self, call: Numbers, error: u32) {
        if let Some(number) = self.architecture.number(call) {
            self.step(JUMP_EQUAL, 0, 1, number);
            self.step(RETURN, 0, 0, RETURN_ERROR | error);
        }
    }

    /// Skips `block` for other calls; loads the call's number again behind it.
    fn for_call(&mut self, call: Numbers, argument: u8, block: impl FnOnce(&mut Self)) {
        let Some(number) = self.architecture.number(call) else { return };
        let mut inner = Self { architecture: self.architecture, steps: Vec::new() };
        inner.step(LOAD, 0, 0, at_argument(argument));
        block(&mut inner);
        inner.step(LOAD, 0, 0, AT_NUMBER);
        let length = u8::try_from(inner.steps.len() / 8).unwrap_or(u8::MAX);
        debug_assert!(length < u8::MAX, "a jump reaches at most 255 steps");
        self.step(JUMP_EQUAL, 0, length, number);
        self.steps.extend(inner.steps);
    }

    fn allow_only(&mut self, call: Numbers, argument: u8, values: &[u32], error: u32) {
        self.for_call(call, argument, |program| {
            for value in values {
                program.step(JUMP_EQUAL, 0, 1, *value);
                program.step(RETURN, 0, 0, RETURN_ALLOW);
            }
            program.step(RETURN, 0, 0, RETURN_ERROR | error);
        });
    }

    fn refuse_values(&mut self, call: Numbers, argument: u8, mask: Option<u32>, values: &[u32]) {
        self.for_call(call, argument, |program| {
            if let Some(mask) = mask {
                program.step(AND, 0, 0, mask);
            }
            for value in values {
                program.step(JUMP_EQUAL, 0, 1, *value);
                program.step(RETURN, 0, 0, RETURN_ERROR | EPERM);
            }
        });
    }

    fn refuse_bits(&mut self, call: Numbers, argument: u8, bits: u32) {
        self.for_call(call, argument, |program| {
            program.step(JUMP_ANY_BIT, 0, 1, bits);
            program.step(RETURN, 0, 0, RETURN_ERROR | EPERM);
        });
    }
}

#[cfg(test)]
#[path = "seccomp_tests.rs"]
mod tests;
