//! Writing: a value into JSON, without blanks.

use crate::Fault;
use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant, Serializer,
};
use std::marker::PhantomData;

/// Writes a value.
pub fn write<T: Serialize + ?Sized, E: Fault>(value: &T) -> Result<String, E> {
    let mut writer = Writer { out: String::new(), fault: PhantomData };
    value.serialize(&mut writer)?;
    Ok(writer.out)
}

struct Writer<E> {
    out: String,
    fault: PhantomData<fn() -> E>,
}

/// Writes a string in quotes. It depends on nothing that is written, so it is compiled once.
fn put_string(out: &mut String, text: &str) {
    out.push('"');
    // Names, keys and hashes are all of it, nearly always.
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push_str(text);
    } else {
        put_escaped(out, text);
    }
    out.push('"');
}

/// Cut by `get`: what an index says when it fails costs 4 kB of code.
fn put_escaped(out: &mut String, text: &str) {
    let mut start = 0;
    for (index, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x8 => b'b',
            0xc => b'f',
            0..=0x1f => b'u',
            _ => continue,
        };
        out.push_str(text.get(start..index).unwrap_or_default());
        start = index + 1;
        out.push('\\');
        out.push(char::from(escape));
        if escape == b'u' {
            let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value & 0xf)]);
            out.push_str("00");
            out.push(digit(byte >> 4));
            out.push(digit(byte));
        }
    }
    out.push_str(text.get(start..).unwrap_or_default());
}

fn put_number(out: &mut String, number: u64) {
    if number >= 10 {
        put_number(out, number / 10);
    }
    out.push(char::from(b"0123456789"[usize::try_from(number % 10).unwrap_or_default()]));
}

impl<E: Fault> Writer<E> {
    fn word(&mut self, word: &str) -> Result<(), E> {
        self.out.push_str(word);
        Ok(())
    }

    fn items(&mut self, open: char, close: &'static str) -> Items<'_, E> {
        self.out.push(open);
        Items { writer: self, first: true, close }
    }

    fn variant(&mut self, name: &str) {
        self.out.push('{');
        put_string(&mut self.out, name);
        self.out.push(':');
    }
}

macro_rules! integers {
    ($($method:ident($number:ty))*) => {$(
        fn $method(self, number: $number) -> Result<(), E> {
            self.serialize_i64(i64::from(number))
        }
    )*};
}

macro_rules! refused {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, _: $type) -> Result<(), E> {
            Err(E::at("a whole number or a text to write", self.out.len()))
        }
    )*};
}

impl<'w, E: Fault> Serializer for &'w mut Writer<E> {
    type Ok = ();
    type Error = E;
    type SerializeSeq = Items<'w, E>;
    type SerializeTuple = Items<'w, E>;
    type SerializeTupleStruct = Items<'w, E>;
    type SerializeTupleVariant = Items<'w, E>;
    type SerializeMap = Items<'w, E>;
    type SerializeStruct = Items<'w, E>;
    type SerializeStructVariant = Items<'w, E>;

    integers! { serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) }

    refused! { serialize_f32(f32) serialize_f64(f64) serialize_char(char) serialize_bytes(&[u8]) }

    fn serialize_bool(self, value: bool) -> Result<(), E> {
        self.word(if value { "true" } else { "false" })
    }

    fn serialize_i64(self, number: i64) -> Result<(), E> {
        if number < 0 {
            self.out.push('-');
        }
        self.serialize_u64(number.unsigned_abs())
    }

    fn serialize_u64(self, number: u64) -> Result<(), E> {
        put_number(&mut self.out, number);
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), E> {
        put_string(&mut self.out, text);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), E> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), E> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), E> {
        self.word("null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), E> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), E> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), E> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(self, _: &'static str, _: u32, variant: &'static str, value: &T) -> Result<(), E> {
        self.variant(variant);
        value.serialize(&mut *self)?;
        self.word("}")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'w, E>, E> {
        Ok(self.items('[', "]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Items<'w, E>, E> {
        Ok(self.items('[', "]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items<'w, E>, E> {
        Ok(self.items('[', "]"))
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Items<'w, E>, E> {
        self.variant(variant);
        Ok(self.items('[', "]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Items<'w, E>, E> {
        Ok(self.items('{', "}"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Items<'w, E>, E> {
        Ok(self.items('{', "}"))
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Items<'w, E>, E> {
        self.variant(variant);
        Ok(self.items('{', "}}"))
    }
}

/// An open list or object.
struct Items<'w, E> {
    writer: &'w mut Writer<E>,
    first: bool,
    close: &'static str,
}

impl<E: Fault> Items<'_, E> {
    fn comma(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.writer.out.push(',');
        }
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), E> {
        self.comma();
        value.serialize(&mut *self.writer)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), E> {
        self.comma();
        // A name in the source, which needs no escape.
        self.writer.out.push('"');
        self.writer.out.push_str(name);
        self.writer.out.push_str("\":");
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), E> {
        self.writer.word(self.close)
    }
}

macro_rules! lists {
    ($($list:ident::$method:ident)*) => {$(
        impl<E: Fault> $list for Items<'_, E> {
            type Ok = ();
            type Error = E;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), E> {
                self.item(value)
            }

            fn end(self) -> Result<(), E> {
                Items::end(self)
            }
        }
    )*};
}

macro_rules! records {
    ($($record:ident)*) => {$(
        impl<E: Fault> $record for Items<'_, E> {
            type Ok = ();
            type Error = E;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), E> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), E> {
                Items::end(self)
            }
        }
    )*};
}

lists! { SerializeSeq::serialize_element SerializeTuple::serialize_element SerializeTupleStruct::serialize_field SerializeTupleVariant::serialize_field }

records! { SerializeStruct SerializeStructVariant }

impl<E: Fault> SerializeMap for Items<'_, E> {
    type Ok = ();
    type Error = E;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), E> {
        self.comma();
        let start = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        if self.writer.out.get(start..).is_some_and(|key| key.starts_with('"')) { Ok(()) } else { Err(E::at("a text as a key", start)) }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), E> {
        self.writer.out.push(':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), E> {
        Items::end(self)
    }
}
