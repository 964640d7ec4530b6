//! A contract of a few hundred bytes, put together here: tests of a chain need one before any is compiled.
//!
//! | method | what it does |
//! |---|---|
//! | `set` | logs `set`, stores the input under `key` |
//! | `get` | returns what is stored under `key`, nothing when there is nothing |
//! | `unset` | removes `key` |
//! | `fail` | stores the input, then panics with `as asked` |
//! | `spin` | runs until the gas is gone |
//! | `chain` | returns the chain's id |
//! | `seed` | returns the random seed |
//! | `ask` | calls `get` on the account named by the input, then `heard` on itself, and returns that promise |
//! | `ask_to_fail` | the same with `fail` |
//! | `heard` | returns what the promise gave, or `promise failed` |
//! | `pay` | sends 1 NEAR to the account named by the input |
//! | `wait` | yields; `woken` runs when resumed or timed out |
//! | `wake` | resumes the yield with the input |
//! | `wait_named` | yields under the input's 32 bytes; fails while another yield has that id |
//! | `wake_named` | resumes the yield of that id with `woken`; returns `woken`, or `promise failed` when there is none |
//! | `lose` | calls `fail` on itself with 1 NEAR, which is to be refunded to the account named by the input |
//! | `woken` | stores and returns what it was resumed with, or `promise failed` |

const I64: u8 = 0x7e;
const I32: u8 = 0x7f;
/// Length that tells a host function that the pointer is a register.
const REGISTER: i64 = -1;
/// Gas for the calls that the contract makes.
const CALL_GAS: i64 = 20_000_000_000_000;

/// Data that the contract holds, each at a place of its own.
const DATA: &[(i64, &[u8])] = &[
    (0, b"key"),
    (16, b"set"),
    (32, b"as asked"),
    (48, b"promise failed"),
    (64, b"get"),
    (80, b"heard"),
    (96, b"fail"),
    (112, b"woken"),
    (128, b"yield"),
    (144, &1_000_000_000_000_000_000_000_000_u128.to_le_bytes()),
    (160, &0_u128.to_le_bytes()),
];

/// Host functions: name, number of 64-bit parameters, and what they return.
const IMPORTS: &[(&str, u8, Option<u8>)] = &[
    ("input", 1, None),
    ("storage_write", 5, Some(I64)),
    ("storage_read", 3, Some(I64)),
    ("storage_remove", 3, Some(I64)),
    ("value_return", 2, None),
    ("log_utf8", 2, None),
    ("panic_utf8", 2, None),
    ("chain_id", 1, None),
    ("current_account_id", 1, None),
    ("promise_create", 8, Some(I64)),
    ("promise_then", 9, Some(I64)),
    ("promise_return", 1, None),
    ("promise_result", 2, Some(I64)),
    ("promise_batch_create", 2, Some(I64)),
    ("promise_batch_action_transfer", 2, None),
    ("promise_yield_create", 7, Some(I64)),
    ("promise_yield_resume", 4, Some(I32)),
    ("promise_yield_create_with_id", 9, Some(I64)),
    ("promise_yield_resume_with_yield_id", 4, Some(I32)),
    ("promise_set_refund_to", 3, None),
    ("random_seed", 1, None),
    ("read_register", 2, None),
    ("register_len", 1, Some(I64)),
];

/// A function's instructions.
#[derive(Default)]
struct Code(Vec<u8>);

impl Code {
    fn constant(mut self, value: i64) -> Self {
        self.0.push(0x42);
        signed_leb(&mut self.0, value);
        self
    }

    /// Pointer and length of a piece of data, in the order that host functions want: length first.
    fn text(self, text: &[u8]) -> Self {
        let at = DATA.iter().find(|(_, data)| *data == text).map_or(0, |(at, _)| *at);
        self.constant(i64::try_from(text.len()).unwrap_or(0)).constant(at)
    }

    fn host(mut self, name: &str) -> Self {
        let index = IMPORTS.iter().position(|(import, ..)| *import == name).unwrap_or(IMPORTS.len());
        self.0.push(0x10);
        leb(&mut self.0, index);
        self
    }

    fn byte(mut self, opcode: u8) -> Self {
        self.0.push(opcode);
        self
    }

    fn drop(self) -> Self {
        self.byte(0x1a)
    }

    /// Compares the number on the stack with `value` and opens a block for when they are equal.
    fn if_equal(self, value: i64) -> Self {
        self.constant(value).byte(0x51).if_true()
    }

    /// Opens a block for when the 32-bit number on the stack is not zero.
    fn if_true(self) -> Self {
        self.byte(0x04).byte(0x40)
    }

    fn otherwise(self) -> Self {
        self.byte(0x05)
    }

    fn end(self) -> Self {
        self.byte(0x0b)
    }

    fn input(self) -> Self {
        self.constant(0).host("input")
    }

    fn store(self, key: &[u8], register: i64) -> Self {
        self.text(key).constant(REGISTER).constant(register).constant(9).host("storage_write").drop()
    }

    fn return_register(self, register: i64) -> Self {
        self.constant(REGISTER).constant(register).host("value_return")
    }
}

fn methods() -> Vec<(&'static str, Code)> {
    let ask = |method: &[u8]| {
        Code::default()
            .input()
            .constant(1)
            .host("current_account_id")
            .constant(REGISTER)
            .constant(0)
            .text(method)
            .constant(0)
            .constant(0)
            .constant(160)
            .constant(CALL_GAS)
            .host("promise_create")
            .constant(REGISTER)
            .constant(1)
            .text(b"heard")
            .constant(0)
            .constant(0)
            .constant(160)
            .constant(CALL_GAS)
            .host("promise_then")
            .host("promise_return")
    };
    let heard = |then: fn(Code) -> Code| {
        let ready = Code::default().constant(0).constant(2).host("promise_result").if_equal(1);
        then(ready).return_register(2).otherwise().text(b"promise failed").host("value_return").end()
    };
    vec![
        ("set", Code::default().text(b"set").host("log_utf8").input().store(b"key", 0)),
        ("get", Code::default().text(b"key").constant(2).host("storage_read").if_equal(1).return_register(2).end()),
        ("unset", Code::default().text(b"key").constant(2).host("storage_remove").drop()),
        ("fail", Code::default().input().store(b"key", 0).text(b"as asked").host("panic_utf8")),
        // loop, br 0, end
        ("spin", Code::default().byte(0x03).byte(0x40).byte(0x0c).byte(0x00).end()),
        ("chain", Code::default().constant(2).host("chain_id").return_register(2)),
        ("seed", Code::default().constant(2).host("random_seed").return_register(2)),
        ("ask", ask(b"get")),
        ("ask_to_fail", ask(b"fail")),
        ("heard", heard(|code| code)),
        (
            "pay",
            Code::default()
                .input()
                .constant(REGISTER)
                .constant(0)
                .host("promise_batch_create")
                .constant(144)
                .host("promise_batch_action_transfer"),
        ),
        (
            "wait",
            Code::default()
                .text(b"woken")
                .constant(0)
                .constant(0)
                .constant(CALL_GAS)
                .constant(0)
                .constant(3)
                .host("promise_yield_create")
                .store(b"yield", 3)
                .host("promise_return"),
        ),
        (
            "wake",
            Code::default()
                .input()
                .constant(0)
                .constant(1024)
                .host("read_register")
                .text(b"yield")
                .constant(3)
                .host("storage_read")
                .drop()
                .constant(REGISTER)
                .constant(3)
                .constant(0)
                .host("register_len")
                .constant(1024)
                .host("promise_yield_resume")
                .drop(),
        ),
        (
            "wait_named",
            Code::default()
                .input()
                .text(b"woken")
                .constant(0)
                .constant(0)
                .constant(160)
                .constant(CALL_GAS)
                .constant(0)
                .constant(REGISTER)
                .constant(0)
                .host("promise_yield_create_with_id")
                .host("promise_return"),
        ),
        (
            "wake_named",
            Code::default()
                .input()
                .constant(REGISTER)
                .constant(0)
                .text(b"woken")
                .host("promise_yield_resume_with_yield_id")
                .if_true()
                .text(b"woken")
                .host("value_return")
                .otherwise()
                .text(b"promise failed")
                .host("value_return")
                .end(),
        ),
        (
            "lose",
            Code::default()
                .input()
                .constant(1)
                .host("current_account_id")
                .constant(REGISTER)
                .constant(1)
                .text(b"fail")
                .constant(0)
                .constant(0)
                .constant(144)
                .constant(CALL_GAS)
                .host("promise_create")
                .constant(REGISTER)
                .constant(0)
                .host("promise_set_refund_to"),
        ),
        ("woken", heard(|code| code.store(b"key", 2))),
    ]
}

/// The contract's wasm.
#[must_use]
pub fn tiny_contract() -> Vec<u8> {
    let methods = methods();
    let mut types = Vec::new();
    leb(&mut types, IMPORTS.len() + 1);
    for (_, params, result) in IMPORTS {
        types.push(0x60);
        leb(&mut types, usize::from(*params));
        types.extend(std::iter::repeat_n(I64, usize::from(*params)));
        match result {
            Some(kind) => types.extend([1, *kind]),
            None => types.push(0),
        }
    }
    types.extend([0x60, 0, 0]);
    let mut imports = Vec::new();
    leb(&mut imports, IMPORTS.len());
    for (index, (name, ..)) in IMPORTS.iter().enumerate() {
        bytes(&mut imports, b"env");
        bytes(&mut imports, name.as_bytes());
        imports.push(0);
        leb(&mut imports, index);
    }
    let (mut functions, mut exports, mut code) = (Vec::new(), Vec::new(), Vec::new());
    leb(&mut functions, methods.len());
    leb(&mut exports, methods.len() + 1);
    leb(&mut code, methods.len());
    bytes(&mut exports, b"memory");
    exports.extend([2, 0]);
    for (index, (name, Code(mut body))) in methods.into_iter().enumerate() {
        leb(&mut functions, IMPORTS.len());
        bytes(&mut exports, name.as_bytes());
        exports.push(0);
        leb(&mut exports, IMPORTS.len() + index);
        body.insert(0, 0); // no locals
        body.push(0x0b);
        bytes(&mut code, &body);
    }
    let mut data = Vec::new();
    leb(&mut data, DATA.len());
    for (at, content) in DATA {
        data.extend([0, 0x41]);
        signed_leb(&mut data, *at);
        data.push(0x0b);
        bytes(&mut data, content);
    }
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (id, content) in [(1, types), (2, imports), (3, functions), (5, vec![1, 0, 1]), (7, exports), (10, code), (11, data)] {
        module.push(id);
        bytes(&mut module, &content);
    }
    module
}

fn bytes(out: &mut Vec<u8>, content: &[u8]) {
    leb(out, content.len());
    out.extend_from_slice(content);
}

fn leb(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn signed_leb(out: &mut Vec<u8>, mut value: i64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        let done = (value == 0 && low & 0x40 == 0) || (value == -1 && low & 0x40 != 0);
        if done {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}
