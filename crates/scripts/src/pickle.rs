//! What a pickle would do, read from its opcodes: nothing of it is ever loaded (Python's `pickletools` documents the opcodes).

use std::collections::BTreeMap;

/// Opcodes that are read of one pickle.
const MAX_OPCODES: usize = 2_000_000;
/// Names that are kept of one pickle.
const MAX_NAMES: usize = 200;

/// Modules that reach the system: a pickle that names one runs what its maker wanted.
const DANGEROUS: &[&str] = &[
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "socket",
    "shutil",
    "importlib",
    "runpy",
    "ctypes",
    "pty",
    "pickle",
    "_pickle",
    "marshal",
    "code",
    "codeop",
    "pdb",
    "bdb",
    "timeit",
    "webbrowser",
    "urllib",
    "http",
    "ftplib",
    "smtplib",
    "requests",
    "signal",
    "multiprocessing",
    "threading",
    "asyncio",
    "commands",
    "platform",
    "tempfile",
    "io",
    "pip",
    "venv",
    "ensurepip",
    "inspect",
    "gc",
    "types",
    "test",
    "idlelib",
    "linecache",
    "cProfile",
    "profile",
    "trace",
];
/// Of `builtins` and `operator`, what runs or opens something.
const DANGEROUS_NAMES: &[&str] = &[
    "eval",
    "exec",
    "execfile",
    "compile",
    "open",
    "__import__",
    "getattr",
    "setattr",
    "delattr",
    "globals",
    "locals",
    "vars",
    "input",
    "breakpoint",
    "apply",
    "map",
    "filter",
    "attrgetter",
    "methodcaller",
    "itemgetter",
];
/// What pickles of models and tables are made of.
const USUAL: &[&str] = &[
    "builtins",
    "__builtin__",
    "collections",
    "copyreg",
    "copy_reg",
    "_codecs",
    "datetime",
    "decimal",
    "fractions",
    "uuid",
    "pathlib",
    "numpy",
    "pandas",
    "scipy",
    "sklearn",
    "torch",
    "torchvision",
    "joblib",
    "xgboost",
    "lightgbm",
    "catboost",
    "statsmodels",
    "transformers",
    "tokenizers",
    "PIL",
    "polars",
    "pyarrow",
    "networkx",
    "functools",
    "enum",
    "dataclasses",
    "random",
];

/// What was found in a pickle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pickle {
    /// `module.name` of what it would import, each once.
    pub names: Vec<String>,
    /// Those that reach the system.
    pub dangerous: Vec<String>,
    /// Those that are neither usual nor dangerous: classes of the tenant's own code, most often.
    pub unusual: Vec<String>,
    /// Whether it could be read to its end.
    pub whole: bool,
}

/// Reads a pickle of any protocol. Nothing where the bytes do not begin like one.
pub fn scan_pickle(bytes: &[u8]) -> Option<Pickle> {
    let has_protocol = matches!(bytes, [0x80, 2..=5, ..]);
    // Protocols 0 and 1 have no header: what begins with one of their opcodes and ends with their stop may be one.
    let may_be_old = matches!(bytes.first(), Some(b'(' | b'c' | b'}' | b']' | b'l' | b'd')) && bytes.last() == Some(&b'.');
    if !has_protocol && !may_be_old {
        return None;
    }
    let mut scan = Scan { bytes, at: 0, strings: Vec::new(), memo: BTreeMap::new(), memoized: 0, found: Pickle::default() };
    // Several pickles may follow one another; what is no opcode ends the reading.
    for _ in 0..MAX_OPCODES {
        match scan.step() {
            Some(true) => {
                scan.found.whole = true;
                if !matches!(scan.bytes.get(scan.at..), Some([0x80, 2..=5, ..])) {
                    break;
                }
                scan.found.whole = false;
            }
            Some(false) => {}
            None => break,
        }
    }
    (has_protocol || !scan.found.names.is_empty()).then_some(scan.found)
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The last texts that were pushed, and those remembered: `STACK_GLOBAL` takes module and name from there.
    strings: Vec<String>,
    memo: BTreeMap<usize, String>,
    memoized: usize,
    found: Pickle,
}

impl Scan<'_> {
    /// Reads one opcode: true at a stop, nothing where reading cannot go on.
    fn step(&mut self) -> Option<bool> {
        let code = *self.take(1)?.first()?;
        match code {
            b'.' => return Some(true),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.name(&module, &name);
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                self.name(&module, &name);
            }
            0x93 => {
                let name = self.strings.pop().unwrap_or_else(|| "?".to_owned());
                let module = self.strings.pop().unwrap_or_else(|| "?".to_owned());
                self.name(&module, &name);
            }
            // Texts.
            b'S' | b'V' => {
                let line = self.line()?;
                self.push(line.trim_matches(['\'', '"']).to_owned());
            }
            b'U' | 0x8C => self.text(1)?,
            b'T' | b'X' => self.text(4)?,
            0x8D => self.text(8)?,
            // Bytes.
            b'C' => self.skip_counted(1)?,
            b'B' => self.skip_counted(4)?,
            0x8E | 0x96 => self.skip_counted(8)?,
            0x8A => self.skip_counted(1)?,
            0x8B => self.skip_counted(4)?,
            // The memo.
            0x94 => {
                self.remember(self.memoized);
                self.memoized += 1;
            }
            b'q' => {
                let at = self.number(1)?;
                self.remember(at);
            }
            b'r' => {
                let at = self.number(4)?;
                self.remember(at);
            }
            b'p' => {
                let at = self.line()?.parse().ok()?;
                self.remember(at);
            }
            b'h' => {
                let at = self.number(1)?;
                self.recall(at);
            }
            b'j' => {
                let at = self.number(4)?;
                self.recall(at);
            }
            b'g' => {
                let at = self.line()?.parse().ok()?;
                self.recall(at);
            }
            // Numbers and other arguments of fixed length, or up to the line's end.
            b'I' | b'L' | b'F' | b'P' => drop(self.line()?),
            b'K' | 0x80 | 0x82 => drop(self.take(1)?),
            b'M' | 0x83 => drop(self.take(2)?),
            b'J' | 0x84 => drop(self.take(4)?),
            b'G' | 0x95 => drop(self.take(8)?),
            // Without an argument.
            b'N' | b'(' | b')' | b'0' | b'1' | b'2' | b'R' | b'Q' | b'a' | b'b' | b'd' | b'e' | b'l' | b'o' | b's' | b't' | b'u' | b'}'
            | b']' => {}
            0x81 | 0x85..=0x92 | 0x97 | 0x98 => {}
            _ => return None,
        }
        Some(false)
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn line(&mut self) -> Option<String> {
        let length = self.bytes.get(self.at..)?.iter().take(4_096).position(|byte| *byte == b'\n')?;
        let line = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.at += 1;
        Some(line)
    }

    fn number(&mut self, width: usize) -> Option<usize> {
        let bytes = self.take(width)?;
        usize::try_from(bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte))).ok()
    }

    fn skip_counted(&mut self, width: usize) -> Option<()> {
        let count = self.number(width)?;
        self.take(count).map(|_| ())
    }

    fn text(&mut self, width: usize) -> Option<()> {
        let count = self.number(width)?;
        let text = String::from_utf8_lossy(self.take(count)?).chars().take(200).collect();
        self.push(text);
        Some(())
    }

    fn push(&mut self, text: String) {
        if self.strings.len() >= 64 {
            self.strings.remove(0);
        }
        self.strings.push(text);
    }

    fn remember(&mut self, at: usize) {
        if let Some(text) = self.strings.last()
            && self.memo.len() < 100_000
        {
            self.memo.insert(at, text.clone());
        }
    }

    fn recall(&mut self, at: usize) {
        if let Some(text) = self.memo.get(&at).cloned() {
            self.push(text);
        }
    }

    fn name(&mut self, module: &str, name: &str) {
        let short = |text: &str| text.chars().filter(|letter| !letter.is_control()).take(80).collect::<String>();
        let whole = format!("{}.{}", short(module), short(name));
        if self.found.names.len() >= MAX_NAMES || self.found.names.contains(&whole) {
            return;
        }
        let family = module.split('.').next().unwrap_or_default();
        let last = name.rsplit('.').next().unwrap_or_default();
        let runs = matches!(family, "builtins" | "__builtin__" | "operator" | "_operator" | "functools")
            && (DANGEROUS_NAMES.contains(&last) || name.contains('.'));
        if DANGEROUS.contains(&family) || runs || matches!(last, "system" | "popen" | "loads" | "__reduce__" | "__subclasses__") {
            self.found.dangerous.push(whole.clone());
        } else if !USUAL.contains(&family) {
            self.found.unusual.push(whole.clone());
        }
        self.found.names.push(whole);
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn pickle__should_name_what_reaches_the_system() {
        // pickle.dumps of objects whose __reduce__ gives os.system("id"), builtins.eval("1") and subprocess.Popen(["id"]).
        let protocol_0 = b"cposix\nsystem\np0\n(Vid\np1\ntp2\nRp3\n.";
        let protocol_2 = b"\x80\x02c__builtin__\neval\nq\x00X\x01\x00\x00\x001q\x01\x85q\x02Rq\x03.";
        let protocol_4 =
            b"\x80\x04\x95\x25\x00\x00\x00\x00\x00\x00\x00\x8c\nsubprocess\x94\x8c\x05Popen\x94\x93\x94]\x94\x8c\x02id\x94a\x85\x94R\x94.";
        for (bytes, name) in [(&protocol_0[..], "posix.system"), (protocol_2, "__builtin__.eval"), (protocol_4, "subprocess.Popen")] {
            let found = scan_pickle(bytes).expect("a pickle");
            assert_eq!((found.dangerous, found.whole), (vec![name.to_owned()], true));
        }
        // The module and name come out of the memo, in another order.
        let hidden = b"\x80\x04\x8c\x06system\x94\x8c\x05posix\x94h\x01h\x00\x93\x94\x8c\x02id\x94\x85\x94R.";
        assert_eq!(scan_pickle(hidden).expect("a pickle").dangerous, ["posix.system"]);
    }

    #[test]
    fn pickle__should_find_nothing_in_plain_data_and_name_own_classes() {
        // pickle.dumps({"a": [1, 2.5, b"x", None]}, 4)
        let plain =
            b"\x80\x04\x95\x1b\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94]\x94(K\x01G@\x04\x00\x00\x00\x00\x00\x00C\x01x\x94Nes.";
        assert_eq!(scan_pickle(plain), Some(Pickle { whole: true, ..Pickle::default() }));
        let own = b"\x80\x02cmymodel\nNet\nq\x00)\x81q\x01.";
        let found = scan_pickle(own).expect("a pickle");
        assert_eq!((found.unusual, found.dangerous.len()), (vec!["mymodel.Net".to_owned()], 0));
        for bytes in [&b"a,b\n1,2\n"[..], b"\x7fELF", b"", b"{\"a\": 1}", b"(not a pickle)."] {
            assert_eq!(scan_pickle(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn pickle__should_survive_what_is_cut() {
        let whole =
            b"\x80\x04\x95\x25\x00\x00\x00\x00\x00\x00\x00\x8c\nsubprocess\x94\x8c\x05Popen\x94\x93\x94]\x94\x8c\x02id\x94a\x85\x94R\x94.";
        for cut in 0..whole.len() {
            assert!(scan_pickle(&whole[..cut]).is_none_or(|found| !found.whole));
        }
        assert!(!scan_pickle(b"\x80\x04X\xff\xff\xff\xff").expect("begins like one").whole);
    }
}
