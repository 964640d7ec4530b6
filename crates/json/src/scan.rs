//! The text itself: blanks, words, numbers, strings.

use std::borrow::Cow;

/// The most brackets within brackets.
pub const MAX_DEPTH: u8 = 32;

/// A place in a JSON text. Nothing here depends on what is read, so it is compiled once.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    /// The next byte.
    pub(crate) at: usize,
    depth: u8,
}

impl<'a> Scanner<'a> {
    /// The beginning of a text; nothing if it is not UTF-8.
    pub(crate) fn new(bytes: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(|text| Self { text, at: 0, depth: 0 })
    }

    /// The next byte that is no blank, without taking it; 0 at the end.
    pub(crate) fn peek(&mut self) -> u8 {
        while matches!(self.byte(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
        self.byte()
    }

    /// Takes the next byte that is no blank if it is this one.
    pub(crate) fn eat(&mut self, wanted: u8) -> bool {
        let found = self.peek() == wanted;
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes `true`, `false` or `null`.
    pub(crate) fn word(&mut self, word: &str) -> bool {
        self.peek();
        let found = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        if found {
            self.at += word.len();
        }
        found
    }

    /// Goes into a bracket; refuses to go too deep.
    pub(crate) fn open(&mut self, bracket: u8) -> bool {
        let fits = self.depth < MAX_DEPTH && self.eat(bracket);
        if fits {
            self.depth += 1;
        }
        fits
    }

    /// Leaves a bracket.
    pub(crate) fn close(&mut self, bracket: u8) -> bool {
        let found = self.eat(bracket);
        if found {
            self.depth -= 1;
        }
        found
    }

    /// A whole number: whether it is below zero, and its digits.
    pub(crate) fn number(&mut self) -> Option<(bool, u64)> {
        let negative = self.eat(b'-');
        let start = self.at;
        let mut value = 0_u64;
        while self.byte().is_ascii_digit() {
            value = value.checked_mul(10)?.checked_add(u64::from(self.byte() - b'0'))?;
            self.at += 1;
        }
        let digits = self.text.get(start..self.at)?;
        let whole = !matches!(self.byte(), b'.' | b'e' | b'E');
        let written_well = !digits.is_empty() && (digits == "0" || !digits.starts_with('0'));
        // A zero below zero is no whole number.
        (whole && written_well && (value > 0 || !negative)).then_some((negative, value))
    }

    /// A string, copied only where it is written with escapes.
    pub(crate) fn string(&mut self) -> Option<Cow<'a, str>> {
        if !self.eat(b'"') {
            return None;
        }
        let mut copy = String::new();
        let mut start = self.at;
        loop {
            match self.byte() {
                b'"' => {
                    let rest = self.text.get(start..self.at)?;
                    self.at += 1;
                    if copy.is_empty() {
                        return Some(Cow::Borrowed(rest));
                    }
                    copy.push_str(rest);
                    return Some(Cow::Owned(copy));
                }
                b'\\' => {
                    copy.push_str(self.text.get(start..self.at)?);
                    self.at += 1;
                    copy.push(self.escaped()?);
                    start = self.at;
                }
                // A control character, or the end of the text.
                0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
    }

    /// Goes past a value of any kind.
    pub(crate) fn skip(&mut self) -> Option<()> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'{' => self.skip_items(b'{', b'}'),
            b'[' => self.skip_items(b'[', b']'),
            b't' => self.word("true").then_some(()),
            b'f' => self.word("false").then_some(()),
            b'n' => self.word("null").then_some(()),
            _ => self.number().map(drop),
        }
    }

    fn skip_items(&mut self, open: u8, close: u8) -> Option<()> {
        if !self.open(open) {
            return None;
        }
        if self.close(close) {
            return Some(());
        }
        loop {
            if close == b'}' {
                self.string()?;
                self.eat(b':').then_some(())?;
            }
            self.skip()?;
            if self.close(close) {
                return Some(());
            }
            self.eat(b',').then_some(())?;
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let escape = self.byte();
        self.at += 1;
        Some(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return None,
        })
    }

    /// Four hexadecimal digits, or two times four where UTF-16 needs a pair.
    fn unicode(&mut self) -> Option<char> {
        let first = self.four_digits()?;
        let Some(high) = first.checked_sub(0xd800).filter(|high| *high < 0x400) else {
            return char::from_u32(first);
        };
        if self.byte() != b'\\' {
            return None;
        }
        self.at += 1;
        if self.byte() != b'u' {
            return None;
        }
        self.at += 1;
        let low = self.four_digits()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x1_0000 + (high << 10) + low)
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }
}
