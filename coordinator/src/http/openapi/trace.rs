//! JSON Schemas of our wire types, found by asking each type's own `Deserialize` what it reads: the document cannot say anything else than the program does.
//!
//! A type is fed until it is content: a text that it refuses is replaced by the next kind of text, and each variant of an enum is tried. What is asked for on the way is its shape.

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer as _, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor, value::StrDeserializer,
};
use serde_json::{Map, Value, json};
use std::{cell::RefCell, collections::BTreeMap, fmt};

/// How names of accounts look.
pub(super) const ACCOUNT: &str = "^[a-z0-9._-]{2,64}$";

/// Feedings of one type. More means that it asks for what is not known here.
const MAX_FEEDINGS: usize = 5_000;

/// Kinds of text by a value of each, and how their texts look. The first that a type takes is its kind.
fn texts() -> [(String, Value); 8] {
    let text = |value: &str, pattern: &str| (value.to_owned(), json!({ "type": "string", "pattern": pattern }));
    [
        ("Any text.".to_owned(), json!({ "type": "string" })),
        text("7", "^[0-9]{1,39}$"),
        text("alice.near", ACCOUNT),
        ("near".to_owned(), json!({ "type": "string", "pattern": "^(near|nep141:.{2,64})$" })),
        text("alice.near/name", "^[a-z0-9._-]{2,64}/[a-z0-9-]{2,48}$"),
        text(&starling_primitives::Hash32([7; 32]).to_string(), "^[0-9a-f]{64}$"),
        text(&starling_primitives::PublicKey([7; 32]).to_string(), "^ed25519:[1-9A-HJ-NP-Za-km-z]{32,44}$"),
        text(&starling_primitives::Signature([7; 64]).to_string(), "^ed25519:[1-9A-HJ-NP-Za-km-z]{64,88}$"),
    ]
}

/// What a type asked for at a place.
#[derive(Clone, Debug)]
enum Shape {
    Text,
    Is(Value),
    Tagged(String),
    List,
    Tuple(usize),
    Table,
    Maybe,
    Record { name: String, fields: &'static [&'static str] },
    Choice { variants: &'static [&'static str] },
}

#[derive(Default)]
struct Notes {
    shapes: BTreeMap<String, Shape>,
    /// Which kind of text, which variant, or 1 for an option that is left empty, by place.
    choices: BTreeMap<String, usize>,
    /// What was said of each kind of text.
    refusals: BTreeMap<String, Vec<String>>,
    last_text: Option<String>,
    omitted: Option<String>,
    was_omitted: bool,
}

impl Notes {
    /// Goes on to the next kind of text. Where none fits, a whole is refused and not the text: then the text is of the kind that was refused in words of its own, and the
    /// option that it stands in is left empty. Says whether there is anything left to try.
    fn try_next_text(&mut self, place: &str, refusal: String, kinds: usize) -> bool {
        let refusals = self.refusals.entry(place.to_owned()).or_default();
        refusals.push(refusal);
        let choice = self.choices.entry(place.to_owned()).or_insert(0);
        *choice += 1;
        if *choice < kinds {
            return true;
        }
        let is_alone = |said: &String| refusals.iter().filter(|other| *other == said).count() == 1;
        *choice = refusals.iter().position(is_alone).unwrap_or(0);
        let option = place.rfind("/?").map(|end| place[..end].to_owned());
        option.is_some_and(|option| self.choices.insert(option, 1).is_none())
    }
}

/// Traces types, and keeps the named ones.
pub(super) struct Tracer {
    texts: [(String, Value); 8],
    /// A value of each enum that carries its tag inside, by the enum's name.
    samples: Vec<(&'static str, Value)>,
    /// Named schemas.
    pub(super) components: Map<String, Value>,
}

#[derive(Debug)]
pub(super) struct TraceError(String);

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TraceError {}

impl de::Error for TraceError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl Tracer {
    pub(super) fn new(samples: Vec<(&'static str, Value)>) -> Self {
        Self { texts: texts(), samples, components: Map::new() }
    }

    /// The schema of a type; what it names is kept in the components.
    pub(super) fn schema<T: DeserializeOwned>(&mut self) -> Result<Value, TraceError> {
        let notes = RefCell::new(Notes::default());
        let mut tried: BTreeMap<String, usize> = BTreeMap::new();
        let mut is_content = true;
        for feeding in 0.. {
            notes.borrow_mut().last_text = None;
            let outcome = self.feed::<T>(&notes);
            let mut noted = notes.borrow_mut();
            match outcome {
                Err(error) if feeding > MAX_FEEDINGS => return Err(error),
                Err(error) => {
                    let Some(place) = noted.last_text.clone() else { return Err(error) };
                    if !noted.try_next_text(&place, error.0, self.texts.len()) {
                        // What is refused as a whole is shown as far as it was read.
                        is_content = false;
                        break;
                    }
                }
                Ok(()) => {
                    let choices = noted.shapes.iter().filter_map(|(place, shape)| match shape {
                        Shape::Choice { variants } => Some((place.clone(), variants.len())),
                        _ => None,
                    });
                    let mut open = choices.map(|(place, count)| (tried.get(&place).map_or(1, |tried| tried + 1), place, count));
                    let Some((next, place, _)) = open.find(|(next, _, count)| next < count) else { break };
                    tried.insert(place.clone(), next);
                    noted.choices.insert(place, next);
                }
            }
        }
        let required = if is_content { self.required::<T>(&notes) } else { Vec::new() };
        let notes = notes.into_inner();
        Ok(self.write(&notes, &required, ""))
    }

    fn feed<T: DeserializeOwned>(&self, notes: &RefCell<Notes>) -> Result<(), TraceError> {
        T::deserialize(Feeder { tracer: self, notes, place: String::new() }).map(drop)
    }

    /// The fields without which a record is refused.
    fn required<T: DeserializeOwned>(&self, notes: &RefCell<Notes>) -> Vec<String> {
        let noted = notes.borrow();
        let fields = noted.shapes.iter().filter_map(|(place, shape)| match shape {
            Shape::Record { fields, .. } => Some(fields.iter().map(move |field| format!("{place}/{field}"))),
            _ => None,
        });
        let fields: Vec<String> = fields.flatten().collect();
        drop(noted);
        let is_required = |place: &String| {
            let mut noted = notes.borrow_mut();
            (noted.omitted, noted.was_omitted) = (Some(place.clone()), false);
            drop(noted);
            let refused = self.feed::<T>(notes).is_err();
            refused && notes.borrow().was_omitted
        };
        let required = fields.iter().filter(|place| is_required(place)).cloned().collect();
        notes.borrow_mut().omitted = None;
        required
    }

    fn write(&mut self, notes: &Notes, required: &[String], place: &str) -> Value {
        let Some(shape) = notes.shapes.get(place).cloned() else { return json!({}) };
        match shape {
            Shape::Text => self.texts[notes.choices.get(place).copied().unwrap_or(0)].1.clone(),
            Shape::Is(schema) => schema,
            Shape::Tagged(tag) => json!({ "type": "object", "required": [tag], "properties": { tag.clone(): { "type": "string" } } }),
            Shape::List => json!({ "type": "array", "items": self.write(notes, required, &format!("{place}/[]")) }),
            Shape::Tuple(length) => {
                let items: Vec<Value> = (0..length).map(|number| self.write(notes, required, &format!("{place}/{number}"))).collect();
                json!({ "type": "array", "prefixItems": items, "minItems": length, "maxItems": length })
            }
            Shape::Table => json!({ "type": "object", "additionalProperties": self.write(notes, required, &format!("{place}/{{}}")) }),
            Shape::Maybe => json!({ "anyOf": [self.write(notes, required, &format!("{place}/?")), { "type": "null" }] }),
            Shape::Record { name, fields } => {
                let properties: Map<String, Value> =
                    fields.iter().map(|field| ((*field).to_owned(), self.write(notes, required, &format!("{place}/{field}")))).collect();
                let needed: Vec<&str> = fields.iter().copied().filter(|field| required.contains(&format!("{place}/{field}"))).collect();
                let schema = json!({ "type": "object", "properties": properties, "required": needed });
                if name.is_empty() {
                    return schema;
                }
                self.components.insert(name.clone(), schema);
                json!({ "$ref": format!("#/components/schemas/{name}") })
            }
            Shape::Choice { variants } => {
                let variant = |name: &&str| match notes.shapes.get(&format!("{place}/{name}")) {
                    None => json!({ "const": name }),
                    Some(_) => {
                        let inside = self.write(notes, required, &format!("{place}/{name}"));
                        json!({ "type": "object", "properties": { *name: inside }, "required": [name], "additionalProperties": false })
                    }
                };
                json!({ "oneOf": variants.iter().map(variant).collect::<Vec<_>>() })
            }
        }
    }
}

/// Gives a type what it asks for at one place.
#[derive(Clone)]
struct Feeder<'a> {
    tracer: &'a Tracer,
    notes: &'a RefCell<Notes>,
    place: String,
}

impl Feeder<'_> {
    fn note(&self, shape: Shape) {
        self.notes.borrow_mut().shapes.insert(self.place.clone(), shape);
    }

    fn inside(&self, part: impl fmt::Display) -> Self {
        Self { place: format!("{}/{part}", self.place), ..self.clone() }
    }

    fn choice(&self) -> usize {
        self.notes.borrow().choices.get(&self.place).copied().unwrap_or(0)
    }
}

macro_rules! numbers {
    ($($method:ident, $visit:ident, $value:expr, $schema:tt;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
            self.note(Shape::Is(json!($schema)));
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Feeder<'_> {
    type Error = TraceError;

    numbers! {
        deserialize_bool, visit_bool, true, { "type": "boolean" };
        deserialize_i8, visit_i8, 1, { "type": "integer", "minimum": -128, "maximum": 127 };
        deserialize_i16, visit_i16, 1, { "type": "integer", "minimum": -32_768, "maximum": 32_767 };
        deserialize_i32, visit_i32, 1, { "type": "integer", "format": "int32" };
        deserialize_i64, visit_i64, 1, { "type": "integer", "format": "int64" };
        deserialize_u8, visit_u8, 1, { "type": "integer", "minimum": 0, "maximum": 255 };
        deserialize_u16, visit_u16, 1, { "type": "integer", "minimum": 0, "maximum": 65_535 };
        deserialize_u32, visit_u32, 1, { "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 };
        deserialize_u64, visit_u64, 1, { "type": "integer", "minimum": 0, "maximum": 18_446_744_073_709_551_615_u64 };
        deserialize_f32, visit_f32, 1.0, { "type": "number" };
        deserialize_f64, visit_f64, 1.0, { "type": "number" };
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.note(Shape::Is(json!({ "type": "string", "minLength": 1, "maxLength": 1 })));
        visitor.visit_char('x')
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.note(Shape::Text);
        self.notes.borrow_mut().last_text = Some(self.place.clone());
        visitor.visit_str(&self.tracer.texts[self.choice()].0)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.note(Shape::Maybe);
        if self.choice() == 1 { visitor.visit_none() } else { visitor.visit_some(self.inside("?")) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.note(Shape::Is(json!({ "type": "null" })));
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, TraceError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, TraceError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.note(Shape::List);
        visitor.visit_seq(Items { feeder: self, next: 0, length: 1, is_list: true })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, TraceError> {
        self.note(Shape::Tuple(length));
        visitor.visit_seq(Items { feeder: self, next: 0, length, is_list: false })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, length: usize, visitor: V) -> Result<V::Value, TraceError> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.note(Shape::Table);
        visitor.visit_map(Entry { feeder: self, done: false })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        self.note(Shape::Record { name: name.to_owned(), fields });
        visitor.visit_map(Fields { feeder: self, left: fields.iter(), now: "" })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        self.note(Shape::Choice { variants });
        visitor.visit_enum(self)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        visitor.visit_unit()
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        let wanted = <TraceError as de::Error>::invalid_type(Unexpected::Unit, &visitor).to_string();
        let Some((_, sample)) = self.tracer.samples.iter().find(|(name, _)| wanted.ends_with(name)) else { return Err(TraceError(wanted)) };
        let tag = sample.as_object().and_then(|fields| fields.keys().find(|key| fields[*key].is_string()));
        self.note(tag.map_or(Shape::Is(json!({})), |tag| Shape::Tagged(tag.clone())));
        sample.clone().deserialize_any(visitor).map_err(|error| TraceError(error.to_string()))
    }
}

struct Items<'a> {
    feeder: Feeder<'a>,
    next: usize,
    length: usize,
    is_list: bool,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = TraceError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, TraceError> {
        if self.next == self.length {
            return Ok(None);
        }
        let feeder = if self.is_list { self.feeder.inside("[]") } else { self.feeder.inside(self.next) };
        self.next += 1;
        seed.deserialize(feeder).map(Some)
    }
}

struct Entry<'a> {
    feeder: Feeder<'a>,
    done: bool,
}

impl<'de> MapAccess<'de> for Entry<'_> {
    type Error = TraceError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TraceError> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        seed.deserialize(self.feeder.inside("key")).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, TraceError> {
        seed.deserialize(self.feeder.inside("{}"))
    }
}

struct Fields<'a> {
    feeder: Feeder<'a>,
    left: std::slice::Iter<'static, &'static str>,
    now: &'static str,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = TraceError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TraceError> {
        for field in self.left.by_ref() {
            let place = format!("{}/{field}", self.feeder.place);
            let mut noted = self.feeder.notes.borrow_mut();
            if noted.omitted.as_ref() == Some(&place) {
                noted.was_omitted = true;
                continue;
            }
            drop(noted);
            self.now = field;
            let key: StrDeserializer<'_, TraceError> = field.into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, TraceError> {
        seed.deserialize(self.feeder.inside(self.now))
    }
}

impl<'de, 'a> EnumAccess<'de> for Feeder<'a> {
    type Error = TraceError;
    type Variant = Feeder<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Feeder<'a>), TraceError> {
        let shape = self.notes.borrow().shapes.get(&self.place).cloned();
        let Some(Shape::Choice { variants }) = shape else { return Err(TraceError("an enum has no variants".to_owned())) };
        let name = variants[self.choice()];
        let key: StrDeserializer<'_, TraceError> = name.into_deserializer();
        let inside = self.inside(name);
        seed.deserialize(key).map(|value| (value, inside))
    }
}

impl<'de> VariantAccess<'de> for Feeder<'_> {
    type Error = TraceError;

    fn unit_variant(self) -> Result<(), TraceError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, TraceError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, TraceError> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, TraceError> {
        self.deserialize_struct("", fields, visitor)
    }
}
