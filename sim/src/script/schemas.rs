//! What the schema texts say of each API.

use schema::{Field, Kind, Message, Schema, Type};
use std::collections::BTreeMap;
use std::path::Path;

/// The requests and responses of one API.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) key: i16,
    pub(super) name: String,
    pub(super) request: Message,
    pub(super) response: Message,
    structs: Vec<(String, Vec<Field>)>,
}

/// All APIs, by name.
#[derive(Debug)]
pub(super) struct Schemas(BTreeMap<String, Api>);

impl Schemas {
    /// Reads the texts in a folder.
    pub(super) fn load(folder: &Path) -> Result<Self, String> {
        let at = |error: std::io::Error| format!("{}: {error}", folder.display());
        let mut apis = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(at)? {
            let path = entry.map_err(at)?.path();
            if path.extension().is_none_or(|extension| extension != "txt") {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(at)?;
            let schema = schema::parse(&text).map_err(|error| format!("{}:{error}", path.display()))?;
            if let Some(api) = api(schema) {
                apis.insert(api.name.clone(), api);
            }
        }
        Ok(Self(apis))
    }

    /// The API of a name.
    pub(super) fn find(&self, name: &str) -> Result<&Api, String> {
        self.0.get(name).ok_or_else(|| format!("there is no API {name}"))
    }
}

fn api(schema: Schema) -> Option<Api> {
    let mut messages = schema.messages.into_iter();
    let request = messages.find(|message| matches!(message.kind, Kind::Request { .. }))?;
    let response = messages.find(|message| message.kind == Kind::Response)?;
    let Kind::Request { key, api } = request.kind.clone() else { return None };
    Some(Api { key, name: api, request, response, structs: schema.structs })
}

impl Api {
    /// The fields of the structs that a field is made of.
    pub(super) fn inner<'a>(&'a self, field: &'a Field) -> &'a [Field] {
        let shared = self.structs.iter().find(|(name, _)| field.ty.struct_name() == Some(name));
        match shared {
            Some((_, fields)) if field.fields.is_empty() => fields,
            _ => &field.fields,
        }
    }
}

/// True when a message is coded with compact lengths and tags.
pub(super) fn is_flexible(message: &Message, version: i16) -> bool {
    message.flexible.is_some_and(|from| version >= from)
}

/// True when a field may be null in a version.
pub(super) fn is_nullable(field: &Field, version: i16) -> bool {
    field.nullable.is_some_and(|versions| versions.contains(version))
}

/// The tag of a field in a version, if it is tagged there.
pub(super) fn tag(field: &Field, version: i16) -> Option<u32> {
    field.tag.filter(|(_, versions)| versions.contains(version)).map(|(tag, _)| tag)
}

/// True for a list of structs or a struct.
pub(super) fn is_struct(ty: &Type) -> bool {
    matches!(ty, Type::Struct(_))
}
