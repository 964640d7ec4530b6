//! Reading: a JSON text into a value.

use crate::{Fault, scan::Scanner};
use serde::{
    de::{DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor},
    forward_to_deserialize_any,
};
use std::marker::PhantomData;

/// Reads one value, and nothing after it.
pub fn read<T: DeserializeOwned, E: Fault>(bytes: &[u8]) -> Result<T, E> {
    let Some(scanner) = Scanner::new(bytes) else {
        return Err(E::at("text in UTF-8", 0));
    };
    let mut reader = Reader { scanner, fault: PhantomData };
    let value = T::deserialize(&mut reader)?;
    if reader.scanner.peek() == 0 && reader.scanner.at == bytes.len() { Ok(value) } else { reader.refuse("the end") }
}

struct Reader<'a, E> {
    scanner: Scanner<'a>,
    fault: PhantomData<fn() -> E>,
}

impl<E: Fault> Reader<'_, E> {
    fn refuse<T>(&self, wanted: &'static str) -> Result<T, E> {
        Err(E::at(wanted, self.scanner.at))
    }

    fn want(&self, found: bool, wanted: &'static str) -> Result<(), E> {
        if found { Ok(()) } else { self.refuse(wanted) }
    }

    fn open(&mut self, bracket: u8, wanted: &'static str) -> Result<(), E> {
        let found = self.scanner.open(bracket);
        self.want(found, wanted)
    }

    fn number<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, E> {
        match self.scanner.number() {
            Some((false, value)) => visitor.visit_u64(value),
            Some((true, value)) => match 0_i64.checked_sub_unsigned(value) {
                Some(value) => visitor.visit_i64(value),
                None => self.refuse("a smaller number"),
            },
            None => self.refuse("a whole number"),
        }
    }

    fn null(&mut self) -> Result<(), E> {
        let found = self.scanner.word("null");
        self.want(found, "null")
    }
}

macro_rules! unsigned {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
            match self.scanner.number() {
                Some((false, value)) => visitor.visit_u64(value),
                _ => self.refuse("a whole number"),
            }
        }
    )*};
}

impl<'de, E: Fault> Deserializer<'de> for &mut Reader<'_, E> {
    type Error = E;

    forward_to_deserialize_any! { i8 i16 i32 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct }

    unsigned! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        match self.scanner.peek() {
            b'{' => self.deserialize_map(visitor),
            b'[' => self.deserialize_seq(visitor),
            b'"' => self.deserialize_str(visitor),
            b't' | b'f' => self.deserialize_bool(visitor),
            b'n' => {
                self.null()?;
                visitor.visit_unit()
            }
            _ => self.number(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        if self.scanner.word("true") {
            return visitor.visit_bool(true);
        }
        let found = self.scanner.word("false");
        self.want(found, "true or false")?;
        visitor.visit_bool(false)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        match self.scanner.string() {
            Some(text) => visitor.visit_str(&text),
            None => self.refuse("a string"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        if self.scanner.word("null") { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, E> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        self.open(b'[', "a list")?;
        let mut items = Items { reader: self, close: b']', first: true, closed: false };
        let value = visitor.visit_seq(&mut items)?;
        items.end()?;
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, E> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value, E> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        self.open(b'{', "an object")?;
        let mut items = Items { reader: self, close: b'}', first: true, closed: false };
        let value = visitor.visit_map(&mut items)?;
        items.end()?;
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, E> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, E> {
        if self.scanner.peek() == b'"' {
            return visitor.visit_enum(Variant { reader: self, has_content: false });
        }
        self.open(b'{', "a name or an object")?;
        let value = visitor.visit_enum(Variant { reader: &mut *self, has_content: true })?;
        let found = self.scanner.close(b'}');
        self.want(found, "}")?;
        Ok(value)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        let found = self.scanner.skip().is_some();
        self.want(found, "a value")?;
        visitor.visit_unit()
    }
}

/// What stands in a list or an object.
struct Items<'r, 'a, E> {
    reader: &'r mut Reader<'a, E>,
    close: u8,
    first: bool,
    closed: bool,
}

impl<E: Fault> Items<'_, '_, E> {
    /// Whether another item follows.
    fn next(&mut self) -> Result<bool, E> {
        self.closed = self.reader.scanner.close(self.close);
        if self.closed {
            return Ok(false);
        }
        if !self.first {
            let found = self.reader.scanner.eat(b',');
            self.reader.want(found, "a comma or the end of the list")?;
        }
        self.first = false;
        Ok(true)
    }

    fn end(self) -> Result<(), E> {
        if self.closed {
            return Ok(());
        }
        let found = self.reader.scanner.close(self.close);
        self.reader.want(found, "the end of the list")
    }
}

impl<'de, E: Fault> SeqAccess<'de> for &mut Items<'_, '_, E> {
    type Error = E;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, E> {
        if self.next()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

impl<'de, E: Fault> MapAccess<'de> for &mut Items<'_, '_, E> {
    type Error = E;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, E> {
        if !self.next()? {
            return Ok(None);
        }
        let is_string = self.reader.scanner.peek() == b'"';
        self.reader.want(is_string, "a field's name")?;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, E> {
        let found = self.reader.scanner.eat(b':');
        self.reader.want(found, "a colon")?;
        seed.deserialize(&mut *self.reader)
    }
}

/// `"name"`, or `{"name": content}` within its braces.
struct Variant<'r, 'a, E> {
    reader: &'r mut Reader<'a, E>,
    has_content: bool,
}

impl<'de, E: Fault> EnumAccess<'de> for Variant<'_, '_, E> {
    type Error = E;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), E> {
        let name = seed.deserialize(&mut *self.reader)?;
        if self.has_content {
            let found = self.reader.scanner.eat(b':');
            self.reader.want(found, "a colon")?;
        }
        Ok((name, self))
    }
}

impl<E: Fault> Variant<'_, '_, E> {
    fn content(&self) -> Result<(), E> {
        self.reader.want(self.has_content, "an object with the name and its content")
    }
}

impl<'de, E: Fault> VariantAccess<'de> for Variant<'_, '_, E> {
    type Error = E;

    fn unit_variant(self) -> Result<(), E> {
        if self.has_content { self.reader.null() } else { Ok(()) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, E> {
        self.content()?;
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, E> {
        self.content()?;
        self.reader.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, E> {
        self.content()?;
        self.reader.deserialize_map(visitor)
    }
}
