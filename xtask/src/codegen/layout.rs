//! From the tree of a schema to the flat list of structs of one module, each with the versions in which it
//! is really coded, so that conditions which always hold need not be written.

use schema::{Field, Fixed, Kind, Message, Schema, Type, Versions};

/// The structs of one module, in order of definition.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) structs: Vec<Struct>,
}

/// One struct to emit.
#[derive(Clone, Debug)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) kind: Option<Kind>,
    /// The versions in which it is coded.
    pub(crate) oldest: i16,
    pub(crate) latest: i16,
    pub(crate) flexible: Option<i16>,
    pub(crate) fields: Vec<Field>,
}

/// When something holds within the versions of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    Never,
    /// A condition on `v`.
    If(String),
}

impl Module {
    pub(crate) fn find(&self, name: &str) -> Option<&Struct> {
        self.structs.iter().find(|found| found.name == name)
    }

    /// The fewest bytes that a value of `ty` takes in any version of `user` in which `versions` holds.
    pub(crate) fn bytes_min(&self, ty: &Type, versions: Versions, user: &Struct) -> usize {
        (user.oldest..=user.latest)
            .filter(|version| versions.contains(*version))
            .map(|version| self.bytes_min_at(ty, version, user.is_flexible(version)))
            .min()
            .unwrap_or(1)
    }

    fn bytes_min_at(&self, ty: &Type, version: i16, flexible: bool) -> usize {
        match ty {
            Type::Fixed(Fixed::Bool | Fixed::Int8) => 1,
            Type::Fixed(Fixed::Int16 | Fixed::Uint16) => 2,
            Type::Fixed(Fixed::Int32 | Fixed::Uint32) => 4,
            Type::Fixed(Fixed::Int64 | Fixed::Float64) => 8,
            Type::Fixed(Fixed::Uuid) => 16,
            Type::String => [2, 1][usize::from(flexible)],
            Type::Bytes | Type::Records | Type::Array(_) => [4, 1][usize::from(flexible)],
            Type::Struct(name) => self.find(name).map_or(0, |found| {
                let fields = found.fields.iter().filter(|f| f.tag.is_none() && f.versions.contains(version));
                let sum: usize = fields
                    .map(|f| match (&f.ty, f.nullable) {
                        (Type::Struct(_), Some(_)) => 1,
                        _ => self.bytes_min_at(&f.ty, version, flexible && !f.legacy),
                    })
                    .sum();
                sum + usize::from(flexible)
            }),
        }
    }
}

impl Struct {
    pub(crate) fn is_flexible(&self, version: i16) -> bool {
        self.flexible.is_some_and(|from| version >= from)
    }

    /// When a version is in `versions`, given that this struct is coded in it.
    pub(crate) fn when(&self, versions: Versions) -> When {
        let from = versions.oldest > self.oldest;
        let until = versions.latest.filter(|latest| *latest < self.latest);
        let oldest = versions.oldest;
        if oldest > self.latest || until.is_some_and(|latest| latest < self.oldest) {
            return When::Never;
        }
        match (from, until) {
            (false, None) => When::Always,
            (true, None) => When::If(format!("v >= {oldest}")),
            (false, Some(latest)) => When::If(format!("v <= {latest}")),
            (true, Some(latest)) if latest == oldest => When::If(format!("v == {latest}")),
            (true, Some(latest)) => When::If(format!("({oldest}..={latest}).contains(&v)")),
        }
    }

    /// This struct, coded in its flexible versions only.
    pub(crate) fn flexible_part(&self) -> Self {
        let oldest = self.flexible.unwrap_or(self.oldest).max(self.oldest);
        Self { oldest, ..self.clone() }
    }

    /// When lengths are compact.
    pub(crate) fn when_flexible(&self) -> When {
        self.flexible.map_or(When::Never, |oldest| self.when(Versions { oldest, latest: None }))
    }
}

/// Flattens a schema.
pub(crate) fn lay_out(schema: Schema) -> Result<Module, String> {
    let mut module = Module::default();
    for message in schema.messages {
        let Message { name, kind, oldest, latest, flexible, fields } = message;
        let context = Context { oldest, latest, flexible };
        define(&mut module, &name, Some(kind), &fields, context)?;
        nested(&mut module, &schema.structs, &fields, context)?;
    }
    Ok(module)
}

#[derive(Clone, Copy)]
struct Context {
    oldest: i16,
    latest: i16,
    flexible: Option<i16>,
}

fn nested(
    module: &mut Module,
    shared: &[(String, Vec<Field>)],
    fields: &[Field],
    context: Context,
) -> Result<(), String> {
    for field in fields {
        let Some(name) = field.ty.struct_name() else { continue };
        let found = shared.iter().find(|(shared, _)| shared == name);
        let inner = match found {
            Some((_, inner)) if field.fields.is_empty() => inner,
            None if !field.fields.is_empty() => &field.fields,
            Some(_) => return Err(format!("struct {name} is defined twice")),
            None => return Err(format!("struct {name} is not defined")),
        };
        let latest = field.versions.latest.unwrap_or(i16::MAX).min(context.latest);
        let context = Context { oldest: field.versions.oldest.max(context.oldest), latest, ..context };
        define(module, name, None, inner, context)?;
        nested(module, shared, inner, context)?;
    }
    Ok(())
}

fn define(
    module: &mut Module,
    name: &str,
    kind: Option<Kind>,
    fields: &[Field],
    context: Context,
) -> Result<(), String> {
    let Context { oldest, latest, flexible } = context;
    if let Some(found) = module.structs.iter_mut().find(|found| found.name == name) {
        let same = kind.is_none()
            && found.kind.is_none()
            && found.flexible == flexible
            && format!("{:?}", found.fields) == format!("{fields:?}");
        if !same {
            return Err(format!("struct {name} is defined twice, differently"));
        }
        found.oldest = found.oldest.min(oldest);
        found.latest = found.latest.max(latest);
        return Ok(());
    }
    let fields = fields.to_vec();
    module.structs.push(Struct { name: name.to_owned(), kind, oldest, latest, flexible, fields });
    Ok(())
}
