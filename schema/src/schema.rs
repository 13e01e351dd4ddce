//! What a schema file says, as values.

/// Versions `oldest..=latest`; `latest` is open for "and all later ones".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The first.
    pub oldest: i16,
    /// The last, if there is one.
    pub latest: Option<i16>,
}

impl Versions {
    /// True for a version between them.
    #[must_use]
    pub fn contains(self, version: i16) -> bool {
        version >= self.oldest && self.latest.is_none_or(|latest| version <= latest)
    }
}

/// One schema file.
#[derive(Debug, Default)]
pub struct Schema {
    /// In the order of the file.
    pub messages: Vec<Message>,
    /// Structs that several fields share.
    pub structs: Vec<(String, Vec<Field>)>,
}

/// A message that is coded by itself.
#[derive(Debug)]
pub struct Message {
    /// Such as `FetchRequest`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The first version that is coded.
    pub oldest: i16,
    /// The last version that is coded.
    pub latest: i16,
    /// The first version with compact lengths and tagged fields.
    pub flexible: Option<i16>,
    /// In the order of the wire.
    pub fields: Vec<Field>,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `key` and name of the API.
    Request {
        /// The API's number.
        key: i16,
        /// The API's name.
        api: String,
    },
    /// The answer to the request before it.
    Response,
    /// A stored record with the number of its type.
    Record {
        /// Of its type.
        number: i16,
    },
    /// Anything else that is coded by itself.
    Data,
}

/// A field of a message or struct.
#[derive(Clone, Debug)]
pub struct Field {
    /// Kafka's name.
    pub name: String,
    /// The versions that have it.
    pub versions: Versions,
    /// Its type.
    pub ty: Type,
    /// The versions in which it may be null.
    pub nullable: Option<Versions>,
    /// Its tag, and the versions in which it is tagged.
    pub tag: Option<(u32, Versions)>,
    /// What a version without it decodes to, if that is not 0, false or empty.
    pub default: Option<String>,
    /// A version without it drops its value.
    pub ignorable: bool,
    /// Written with fixed-width lengths in flexible versions too.
    pub legacy: bool,
    /// The fields of the struct that this field defines on the spot.
    pub fields: Vec<Field>,
}

/// A type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Of fixed width.
    Fixed(Fixed),
    /// UTF-8.
    String,
    /// Opaque.
    Bytes,
    /// Batches of records.
    Records,
    /// The struct of that name.
    Struct(String),
    /// Several of one type.
    Array(Box<Type>),
}

/// The types of fixed width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// One byte.
    Bool,
    /// Signed.
    Int8,
    /// Signed.
    Int16,
    /// Signed.
    Int32,
    /// Signed.
    Int64,
    /// Unsigned.
    Uint16,
    /// Unsigned.
    Uint32,
    /// IEEE 754.
    Float64,
    /// Sixteen bytes.
    Uuid,
}

impl Type {
    /// The struct that values of this type are made of.
    #[must_use]
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            Self::Fixed(_) | Self::String | Self::Bytes | Self::Records => None,
        }
    }
}
