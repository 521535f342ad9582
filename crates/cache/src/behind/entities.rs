//! The entities of one sort: written into the buffer, and read through it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use russet_core_conn::{Canonical, Segments};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::buffer::{Dead, WriteBehind};
use super::change::{Op, Patch};
use super::error::BehindError;
use crate::cache::Cache;
use crate::error::LoadError;
use crate::keys::LANES;
use crate::load::Load;
use crate::lookup::Lookup;
use crate::scripts::behind::{Bounds, Said, Write};

/// The most fields that an entity may have pending.
const MOST_FIELDS: u64 = 128;

/// How often a read begins anew where the entity was written meanwhile.
const MOST_ROUNDS: u32 = 8;

/// The entities of one sort in a [`WriteBehind`], by their keys. Cheap to clone.
///
/// A write is taken once it is in Redis as safely as the buffer's handle asks for. All writes of one entity come to one
/// state, in the order in which Redis took them: a put replaces what was pending, a delete too, a patch sets its fields in
/// it. That state is committed, as a whole, with the version of the last write.
pub struct Entities<K, V> {
    pub(super) buffer: WriteBehind,
    /// As it stands before the key.
    pub(super) kind: Canonical,
    pub(super) cache: Option<Cache<V>>,
    key: std::marker::PhantomData<fn() -> K>,
}

/// What is pending of an entity.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Pending<V> {
    /// What will become of it.
    pub op: Op<V>,
    /// The version of its last write.
    pub version: u64,
}

/// Why an entity could be neither found nor loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError<E> {
    /// Nobody could say whether anything is pending, so what the origin has may be out of date.
    #[error("{0}")]
    Behind(BehindError),
    /// The loader's error.
    #[error("{0}")]
    Loader(E),
}

impl<K, V> Entities<K, V> {
    pub(super) fn new(buffer: &WriteBehind, kind: &str) -> Result<Self, BehindError> {
        if kind.is_empty() || kind.len() > 64 {
            let (problem, allowed) = (format!("{kind:?}"), "1 to 64 bytes");
            return Err(BehindError::Config { field: "kind", problem, allowed });
        }
        let (kind, key) = (Canonical::of(kind), std::marker::PhantomData);
        Ok(Self { buffer: buffer.clone(), kind, cache: None, key })
    }

    /// The same with a cache of these entities by the same keys: what is written is no longer cached once the write is
    /// acknowledged, and [`get_or_load`](Self::get_or_load) reads through it. All programs that write these entities must
    /// have it.
    #[must_use]
    pub fn with_cache(mut self, cache: &Cache<V>) -> Self {
        self.cache = Some(cache.clone());
        self
    }
}

impl<K, V> Entities<K, V>
where
    K: Segments + Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// The entity becomes this. Answers the write's version. One round trip; those of [`Cache::remove`] besides with a
    /// cache.
    ///
    /// # Errors
    /// [`BehindError::Full`]; a value or key that can't be encoded; those of Redis: see their
    /// [`outcome`](BehindError::outcome). It is never sent twice by itself, since that could undo what another wrote in
    /// between.
    pub async fn put(&self, key: &K, value: &V) -> Result<u64, BehindError> {
        let value = self.buffer.inner.codec.encode(value)?;
        let said = self.write(key, Write::Put(value, Vec::new())).await?;
        Ok(said.unwrap_or_default())
    }

    /// The entity is gone. As [`put`](Self::put) for the rest.
    ///
    /// # Errors
    /// As for `put`.
    pub async fn delete(&self, key: &K) -> Result<u64, BehindError> {
        Ok(self.write(key, Write::Delete).await?.unwrap_or_default())
    }

    /// These fields of the entity become so. Answers the write's version; `None`, and nothing is written, where a delete of
    /// the entity is pending. Where it is not in the origin either when that comes to pass, nothing becomes of it. As
    /// [`put`](Self::put) for the rest.
    ///
    /// # Errors
    /// As for `put`, and [`BehindError::Fields`] where more than 128 fields would be pending.
    pub async fn patch(&self, key: &K, patch: Patch) -> Result<Option<u64>, BehindError> {
        if let Some(error) = patch.error {
            return Err(error.into());
        }
        let fields = patch.fields.into_iter();
        let fields: Vec<(Bytes, Bytes)> =
            fields.map(|(field, value)| (field.into(), value)).collect();
        if fields.len() as u64 > MOST_FIELDS {
            return Err(BehindError::Fields { fields: fields.len() as u64, allowed: MOST_FIELDS });
        }
        self.write(key, Write::Patch(fields)).await
    }

    async fn write(&self, key: &K, write: Write) -> Result<Option<u64>, BehindError> {
        let inner = &self.buffer.inner;
        let written = self.taken(key, write).await;
        inner.counters.write(match &written {
            Ok(Some(_)) => "ok",
            Ok(None) => "gone",
            Err(BehindError::Full { .. }) => "full",
            Err(_) => "error",
        });
        let version = written?;
        if let (Some(cache), Some(_)) = (&self.cache, version) {
            // Only now: who loads from here on finds what is pending.
            cache.remove(key).await.map_err(BehindError::Cache)?;
        }
        Ok(version)
    }

    async fn taken(&self, key: &K, write: Write) -> Result<Option<u64>, BehindError> {
        let inner = &self.buffer.inner;
        let (entity, lane) = self.place(key);
        let name = inner.codec.encode(key)?;
        self.buffer.ready().await?;
        let bounds = Bounds {
            entities: inner.options.capacity.div_ceil(LANES as u64),
            fields: MOST_FIELDS,
            batch: inner.options.batch,
            channel: &inner.channel,
            lane,
        };
        match self.buffer.on(lane).write(&entity, name, write, bounds).await? {
            Said::Version(version) => Ok(Some(version)),
            Said::Gone => Ok(None),
            Said::Full(pending) => Err(BehindError::Full { pending }),
            Said::TooManyFields(fields) => {
                Err(BehindError::Fields { fields, allowed: MOST_FIELDS })
            }
        }
    }

    /// What is pending of an entity, also if nobody tries it any more. One round trip.
    ///
    /// # Errors
    /// Those of Redis; [`BehindError::Codec`] for what can't be read as this type.
    pub async fn pending(&self, key: &K) -> Result<Option<Pending<V>>, BehindError> {
        let (entity, lane) = self.place(key);
        self.buffer.ready().await?;
        let Some((version, write)) = self.buffer.on(lane).read(&entity).await? else {
            return Ok(None);
        };
        Ok(Some(Pending { op: self.op(write)?, version }))
    }

    /// What is known of the entity without loading it: what is [cached](Self::with_cache), or else what is pending whole, a
    /// put or a delete (a lookup without a value). `None` where it would have to be loaded, also to know what a pending patch
    /// makes of it. One round trip; another where there is a cache and it has nothing.
    ///
    /// # Errors
    /// Those of [`pending`](Self::pending) and [`Cache::get`].
    pub async fn get(&self, key: &K) -> Result<Option<Lookup<V>>, BehindError> {
        if let Some(cache) = &self.cache {
            let cached = cache.get(key).await.map_err(|error| match error {
                crate::Error::Redis(error) => BehindError::Redis(error),
                error => BehindError::Cache(error),
            })?;
            if cached.is_some() {
                return Ok(cached);
            }
        }
        Ok(match self.pending(key).await?.map(|pending| pending.op) {
            Some(Op::Put(value)) => Some(Lookup::cached(Some(value), false)),
            Some(Op::Delete) => Some(Lookup::cached(None, false)),
            Some(Op::Patch(_)) | None => None,
        })
    }

    /// The entity as it has been written: what is pending of it, over what the loader gives. The loader is not asked where a
    /// put or delete is pending, and never believed about what was written before it was asked: it must read where the sink
    /// commits to, its primary.
    ///
    /// With a [cache](Self::with_cache) it is [`Cache::get_or_load`], and a hit costs no more: what is cached is removed
    /// with each write before that is acknowledged, and once more before what was committed is no longer pending. What is
    /// loaded while anything is pending is cached for as long as [a flush](crate::WriteBehindBuilder::flush_every) at the
    /// most; of a put it has no tags. Without a cache, a lookup is one round trip and a load; two where a patch is pending.
    ///
    /// **The loader may be asked several times**, where a patch is pending and the entity is written meanwhile.
    ///
    /// # Errors
    /// [`ReadError::Behind`] where Redis can't say what is pending: without it there is no telling whether the origin is out
    /// of date, so a lookup that is no hit fails. The loader's; those of [`Cache::get_or_load`].
    ///
    /// # Panics
    /// Outside a tokio runtime, with a cache.
    pub async fn get_or_load<L, E, Fut>(
        &self,
        key: &K,
        load: impl Fn() -> Fut + Send + Sync + 'static,
    ) -> Result<Lookup<V>, LoadError<ReadError<E>>>
    where
        L: Into<Load<V>>,
        E: Send + Sync + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
    {
        if let Some(cache) = &self.cache {
            let (this, name) = (self.clone(), key.clone());
            let load = move |_| async move { this.overlaid(&name, load).await };
            return cache.get_or_load(key, load).await;
        }
        match self.overlaid(key, load).await {
            Ok(load) => Ok(Lookup::loaded(load.value)),
            Err(error) => Err(LoadError::Loader(Arc::new(error))),
        }
    }

    async fn overlaid<L, E, Fut>(
        &self,
        key: &K,
        load: impl Fn() -> Fut + Send,
    ) -> Result<Load<V>, ReadError<E>>
    where
        L: Into<Load<V>>,
        Fut: Future<Output = Result<L, E>> + Send,
    {
        let brief = self.buffer.inner.options.flush;
        let mut pending = self.pending(key).await.map_err(ReadError::Behind)?;
        for _ in 0..MOST_ROUNDS {
            let (patch, version) = match pending {
                None => return load().await.map(Into::into).map_err(ReadError::Loader),
                Some(Pending { op: Op::Put(value), .. }) => {
                    return Ok(Load::value(value).ttl(brief));
                }
                Some(Pending { op: Op::Delete, .. }) => return Ok(Load::absent().ttl(brief)),
                Some(Pending { op: Op::Patch(patch), version }) => (patch, version),
            };
            let mut loaded: Load<V> = load().await.map(Into::into).map_err(ReadError::Loader)?;
            // Of what was committed meanwhile it may have had a part only, or more than the patch is for.
            pending = self.pending(key).await.map_err(ReadError::Behind)?;
            if pending.as_ref().is_some_and(|pending| pending.version == version) {
                if let Some(value) = &loaded.value {
                    let patched = patch.apply(&**value).map_err(BehindError::Codec);
                    loaded.value = Some(Arc::new(patched.map_err(ReadError::Behind)?));
                }
                let ttl = loaded.ttl.map_or(brief, |ttl| ttl.min(brief));
                return Ok(loaded.ttl(ttl));
            }
        }
        Err(ReadError::Behind(BehindError::Contended))
    }

    /// Forgets what was written of an entity that nobody tries any more, for ever: readers see what the origin has. Answers
    /// whether it was: not, if it was written since, or is tried again. One round trip; those of [`Cache::remove`] besides.
    ///
    /// # Errors
    /// Those of Redis; it may be repeated. [`BehindError::Codec`] for an entity of another sort.
    pub async fn discard(&self, dead: &Dead) -> Result<bool, BehindError> {
        let key: K = self.buffer.inner.codec.decode(&dead.name)?;
        self.buffer.ready().await?;
        let lane = self.buffer.on(dead.lane);
        let discarded = lane.discard(dead.entity.clone(), dead.version).await?;
        if let Some(cache) = &self.cache {
            cache.remove(&key).await.map_err(BehindError::Cache)?;
        }
        Ok(discarded)
    }

    pub(super) fn op(&self, write: Write) -> Result<Op<V>, BehindError> {
        Ok(match write {
            Write::Put(value, fields) => {
                let value = self.buffer.inner.codec.decode(&value)?;
                Op::Put(if fields.is_empty() { value } else { Patch::of(&fields).apply(&value)? })
            }
            Write::Patch(fields) => Op::Patch(Patch::of(&fields)),
            Write::Delete => Op::Delete,
        })
    }

    /// The entity, as it stands in its lane, and which that is.
    fn place(&self, key: &K) -> (Vec<u8>, usize) {
        let key = Canonical::of(key);
        #[expect(clippy::cast_possible_truncation, reason = "below the number of lanes")]
        let lane = (key.hash() % LANES as u64) as usize;
        ([self.kind.as_bytes(), key.as_bytes()].concat(), lane)
    }
}

impl<K, V> Clone for Entities<K, V> {
    fn clone(&self) -> Self {
        let Self { buffer, kind, cache, key } = self;
        Self { buffer: buffer.clone(), kind: kind.clone(), cache: cache.clone(), key: *key }
    }
}

impl<K, V> fmt::Debug for Entities<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entities").field("kind", &self.kind).finish_non_exhaustive()
    }
}
