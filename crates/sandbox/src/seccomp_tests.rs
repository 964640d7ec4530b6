//! The filter, run by a small machine as the kernel would run it.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;

/// What the filter answers to a call.
fn answer(architecture: Architecture, network: Network, audit: u32, number: u32, arguments: [u64; 3]) -> u32 {
    let mut data = [0; 64];
    data[..4].copy_from_slice(&number.to_le_bytes());
    data[4..8].copy_from_slice(&audit.to_le_bytes());
    for (index, argument) in arguments.iter().enumerate() {
        data[16 + 8 * index..24 + 8 * index].copy_from_slice(&argument.to_le_bytes());
    }
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let program = filter(architecture, network);
    let (mut at, mut value) = (0, 0);
    loop {
        let step = &program[at * 8..at * 8 + 8];
        let (code, operand) = (u16::from_le_bytes([step[0], step[1]]), word(&step[4..]));
        let holds = match code {
            RETURN => return operand,
            LOAD => {
                value = word(&data[operand as usize..operand as usize + 4]);
                true
            }
            AND => {
                value &= operand;
                true
            }
            JUMP_EQUAL => value == operand,
            JUMP_AT_LEAST => value >= operand,
            JUMP_ANY_BIT => value & operand != 0,
            other => panic!("no such step: {other:#x}"),
        };
        let jumps = matches!(code, JUMP_EQUAL | JUMP_AT_LEAST | JUMP_ANY_BIT);
        at += 1 + if jumps { usize::from(if holds { step[2] } else { step[3] }) } else { 0 };
    }
}

fn on_x86(network: Network, number: u32, arguments: [u64; 3]) -> u32 {
    answer(Architecture::X86, network, Architecture::X86.audit_number(), number, arguments)
}

#[test]
fn filter__should_refuse_every_named_call_on_every_processor() {
    for architecture in [Architecture::X86, Architecture::Arm] {
        for (name, numbers) in REFUSED {
            if let Some(number) = architecture.number(*numbers) {
                let answered = answer(architecture, Network::None, architecture.audit_number(), number, [0; 3]);
                assert_eq!(answered, RETURN_ERROR | EPERM, "{name} on {architecture:?}");
            }
        }
    }
}

#[test]
fn filter__should_kill_what_calls_by_another_interface() {
    assert_eq!(answer(Architecture::X86, Network::None, 0x4000_0003, 20, [0; 3]), RETURN_KILL, "32 bits");
    assert_eq!(on_x86(Network::None, 0x4000_0000 + 39, [0; 3]), RETURN_ERROR | ENOSYS, "x32");
}

#[test]
fn filter__should_hide_calls_that_it_cannot_judge() {
    assert_eq!(on_x86(Network::None, 435, [0; 3]), RETURN_ERROR | ENOSYS, "clone3");
    assert_eq!(on_x86(Network::None, NEWEST + 1, [0; 3]), RETURN_ERROR | ENOSYS);
    assert_eq!(on_x86(Network::None, NEWEST, [0; 3]), RETURN_ALLOW);
}

#[test]
fn filter__should_judge_by_arguments() {
    let threads = 0x003d_0f00;
    for (what, number, arguments, expected) in [
        ("a thread", 56, [threads, 0, 0], RETURN_ALLOW),
        ("a user namespace", 56, [0x1000_0011, 0, 0], RETURN_ERROR | EPERM),
        ("a network namespace", 56, [0x4000_0011, 0, 0], RETURN_ERROR | EPERM),
        ("a Unix socket", 41, [1, 1, 0], RETURN_ALLOW),
        ("an internet socket", 41, [2, 1, 0], RETURN_ERROR | EAFNOSUPPORT),
        ("a packet socket", 41, [17, 3, 0], RETURN_ERROR | EAFNOSUPPORT),
        ("a kernel's crypto socket", 41, [38, 5, 0], RETURN_ERROR | EAFNOSUPPORT),
        ("a socket with a disguised family", 41, [0x1_0000_0002, 1, 0], RETURN_ERROR | EAFNOSUPPORT),
        ("a pair of sockets", 53, [1, 1, 0], RETURN_ALLOW),
        ("typing into a terminal", 16, [0, 0x5412, 0], RETURN_ERROR | EPERM),
        ("typing, disguised", 16, [0, 0xffff_ffff_0000_5412, 0], RETURN_ERROR | EPERM),
        ("the size of a terminal", 16, [0, 0x5413, 0], RETURN_ALLOW),
        ("first in, first out", 144, [0, 1, 0], RETURN_ERROR | EPERM),
        ("an idle schedule", 144, [0, 5, 0], RETURN_ALLOW),
        ("a block device", 133, [0, 0o060_644, 0], RETURN_ERROR | EPERM),
        ("a pipe with a name", 133, [0, 0o010_644, 0], RETURN_ALLOW),
        ("a character device", 259, [0, 0, 0o020_644], RETURN_ERROR | EPERM),
        ("addresses that are not drawn", 135, [0x004_0000, 0, 0], RETURN_ERROR | EPERM),
        ("a limit of core dumps", 160, [4, 9, 0], RETURN_ERROR | EPERM),
        ("a limit of files", 160, [7, 9, 0], RETURN_ALLOW),
        ("a limit of core dumps, newer", 302, [0, 4, 9], RETURN_ERROR | EPERM),
        ("a limit of core dumps, far away", 302, [0, 4, 9 << 32], RETURN_ERROR | EPERM),
        ("asking for the limit of core dumps", 302, [0, 4, 0], RETURN_ALLOW),
        ("a limit of files, newer", 302, [0, 7, 9], RETURN_ALLOW),
        ("reading", 0, [0; 3], RETURN_ALLOW),
    ] {
        assert_eq!(on_x86(Network::None, number, arguments), expected, "{what}");
    }
}

#[test]
fn filter__should_allow_the_internet_alone_where_packages_are_fetched() {
    assert_eq!(on_x86(Network::Packages, 41, [2, 1, 0]), RETURN_ALLOW);
    assert_eq!(on_x86(Network::Packages, 41, [10, 1, 0]), RETURN_ALLOW);
    assert_eq!(on_x86(Network::Packages, 41, [1, 1, 0]), RETURN_ERROR | EAFNOSUPPORT);
    assert_eq!(on_x86(Network::Packages, 41, [16, 3, 0]), RETURN_ERROR | EAFNOSUPPORT);
}
