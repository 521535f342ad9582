//! What is written of an entity.

use std::collections::BTreeMap;

use bytes::Bytes;
use russet_core_conn::{Codec, CodecError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One entity, and what is to become of it: what all of its writes have come to since it was committed last.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Change<K, V> {
    /// Which entity.
    pub key: K,
    /// What is to become of it.
    pub op: Op<V>,
    /// That of its last write: each write of an entity has a higher one than all before it. Commit only what is newer
    /// than what is there.
    pub version: u64,
    /// This version was given to a sink before, which may have committed it.
    pub redelivered: bool,
    /// How often it could not be committed.
    pub failures: u32,
}

/// What is to become of an entity.
#[derive(Debug, Clone, PartialEq)]
pub enum Op<V> {
    /// It is this, whether it was there or not.
    Put(V),
    /// These fields become so. Where it is not there, nothing does: an entity that is not known is not made up.
    Patch(Patch),
    /// It is gone. Keep its version where a later delivery of an older write is not kept away otherwise, as by the
    /// [fence](crate::Batch::fence).
    Delete,
}

/// Fields of an entity, and what they become. Patches of one entity merge field by field, in the order in which they were
/// written.
///
/// ```
/// use russet_cache::Patch;
///
/// let patch = Patch::new().set("paid", &true).set("carrier", "north");
/// assert_eq!(patch.field::<bool>("paid").unwrap().unwrap(), true);
///
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Order { cents: u32, paid: bool, carrier: Option<String> }
/// let order = Order { cents: 900, paid: false, carrier: None };
/// let patched = patch.apply(&order).unwrap();
/// assert_eq!(patched, Order { cents: 900, paid: true, carrier: Some("north".into()) });
/// ```
#[derive(Debug, Default)]
pub struct Patch {
    pub(crate) fields: BTreeMap<String, Bytes>,
    /// The first value that could not be encoded.
    pub(crate) error: Option<CodecError>,
}

impl Patch {
    /// No field.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This field, by the name that it has in the entity's type when that is serialized, becomes so. What can't be encoded
    /// is told when the patch is written.
    #[must_use]
    pub fn set<T: Serialize + ?Sized>(mut self, field: impl Into<String>, value: &T) -> Self {
        match Codec::default().encode(value) {
            Ok(bytes) => drop(self.fields.insert(field.into(), bytes)),
            Err(error) => self.error = self.error.or(Some(error)),
        }
        self
    }

    /// What a field becomes, if the patch has it.
    ///
    /// # Errors
    /// If it is not of this type.
    pub fn field<T: DeserializeOwned>(&self, field: &str) -> Option<Result<T, CodecError>> {
        self.fields.get(field).map(|bytes| Codec::default().decode(bytes))
    }

    /// The names of its fields, in their order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// The value as it is with these fields. It must serialize as a struct or a map.
    ///
    /// # Errors
    /// If it does not, or a field is of another type there.
    pub fn apply<V: Serialize + DeserializeOwned>(&self, value: &V) -> Result<V, CodecError> {
        let codec = Codec::default();
        let mut all: BTreeMap<String, rmpv::Value> = codec.decode(&codec.encode(value)?)?;
        for (field, bytes) in &self.fields {
            all.insert(field.clone(), codec.decode(bytes)?);
        }
        codec.decode(&codec.encode(&all)?)
    }

    pub(crate) fn of(fields: &[(Bytes, Bytes)]) -> Self {
        let name = |name: &Bytes| String::from_utf8_lossy(name).into_owned();
        let fields = fields.iter().map(|(field, bytes)| (name(field), bytes.clone())).collect();
        Self { fields, error: None }
    }
}

impl Clone for Patch {
    fn clone(&self) -> Self {
        Self { fields: self.fields.clone(), error: None }
    }
}

impl PartialEq for Patch {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}
