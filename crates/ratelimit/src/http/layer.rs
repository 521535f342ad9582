//! Which limits a request has to pass.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use russet_core_conn::Segments;
use tower_layer::Layer;

use super::{Headers, RateLimitService, TrustedProxies};
use crate::composite::Priority;
use crate::error::Error;
use crate::rule::Rule;
use crate::{Decision, Level, Limit, Limiter};

/// Puts limits before a service: one decision a request, over all levels that apply to it.
///
/// It may stand before any service of HTTP, in a `ServiceBuilder` of tower or a router of axum; the bodies are its own affair.
/// What is not admitted never reaches the service. A place that the service keeps ready (as tower's `ConcurrencyLimit`) is
/// held while Redis is asked. Of a [queue](crate::Quota::queue), a request waits here for its turn.
///
/// Layers can stand one in another: each decides on its own, and each says in the response how its limits stand.
#[derive(Clone)]
pub struct RateLimitLayer(pub(super) Arc<Rules>);

/// What a layer and its services share.
pub(super) struct Rules {
    pub(super) limiter: Limiter,
    pub(super) headers: Headers,
    pub(super) denied: Denied,
    pub(super) on_error: Failed,
    levels: Vec<Find>,
    cost: Option<Cost>,
}

type Denied = Box<dyn Fn(&Decision) -> Response<Bytes> + Send + Sync>;
type Failed = Box<dyn Fn(&Error) -> OnError + Send + Sync>;
type Cost = Box<dyn Fn(&Parts) -> u64 + Send + Sync>;

/// Adds the levels of a request, at a cost.
type Find = Box<dyn Fn(&Parts, u64, &mut Vec<Level>) -> Result<(), Error> + Send + Sync>;

/// What becomes of a request of which nobody can decide. See [`RateLimitBuilder::on_error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It goes on, without limits.
    Admit,
    /// It is answered by this status, with a problem document.
    Refuse(StatusCode),
}

impl OnError {
    /// Refused: by 503 where Redis gave no answer, by 400 where the request asks for what there can't be (a cost above the
    /// limit, a class that is not known), by 500 where the program is wrong.
    pub fn usual(error: &Error) -> Self {
        Self::Refuse(match error {
            Error::Redis(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Unsatisfiable { .. } | Error::UnknownClass { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        })
    }
}

impl RateLimitLayer {
    /// Options, and the levels of a request.
    pub fn builder(limiter: &Limiter) -> RateLimitBuilder {
        RateLimitBuilder(Rules {
            limiter: limiter.clone(),
            headers: Headers::default(),
            denied: Box::new(super::problem::denied),
            on_error: Box::new(OnError::usual),
            levels: Vec::new(),
            cost: None,
        })
    }
}

/// Options for a layer: from [`RateLimitLayer::builder`].
///
/// Functions of a request are asked once for each, in order, and must not wait.
#[must_use]
pub struct RateLimitBuilder(Rules);

impl RateLimitBuilder {
    /// A level: this limit, for the subject that `key` finds in a request. To requests where it finds `None` the level does
    /// not apply; a request to which none applies is admitted, and told nothing.
    pub fn level<K: Segments>(
        self,
        limit: &Limit,
        key: impl Fn(&Parts) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        let limit = limit.clone();
        self.find(move |request, cost, levels| {
            levels.extend(key(request).map(|key| limit.of(key).cost(cost)));
            Ok(())
        })
    }

    /// A level: this limit, for the address of the client.
    pub fn client(self, limit: &Limit, proxies: TrustedProxies) -> Self {
        let limit = limit.clone();
        self.find(move |request, cost, levels| {
            levels.push(limit.of(proxies.subject(request)?).cost(cost));
            Ok(())
        })
    }

    /// A level: the class of a request among these, for the subject that `key` finds in it. The lowest class is shed where
    /// a higher one needs the room.
    pub fn priority<C: AsRef<str>, K: Segments>(
        self,
        classes: &Priority,
        class: impl Fn(&Parts) -> C + Send + Sync + 'static,
        key: impl Fn(&Parts) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        let classes = classes.clone();
        self.find(move |request, cost, levels| {
            if let Some(key) = key(request) {
                levels.push(classes.level(class(request).as_ref(), key)?.cost(cost));
            }
            Ok(())
        })
    }

    /// Whatever levels a request has: with costs of their own, that [leave](Level::leaving) something to others, of limits
    /// that a table names. [`cost`](Self::cost) is not applied to them.
    pub fn levels(
        self,
        of: impl Fn(&Parts) -> Result<Vec<Level>, Error> + Send + Sync + 'static,
    ) -> Self {
        self.find(move |request, _, levels| {
            levels.extend(of(request)?);
            Ok(())
        })
    }

    /// What a request costs on each of its levels. Where that is nothing, they do not apply. Default: 1.
    pub fn cost(mut self, cost: impl Fn(&Parts) -> u64 + Send + Sync + 'static) -> Self {
        self.0.cost = Some(Box::new(cost));
        self
    }

    /// Which fields tell of limits. Default: those of the IETF's draft.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.0.headers = headers;
        self
    }

    /// Answers denials itself: with any status and body. The fields that tell of limits are added, and `Retry-After` if it
    /// is not there. Default: the problem documents of the [module](super).
    pub fn denied(
        mut self,
        answer: impl Fn(&Decision) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.0.denied = Box::new(answer);
        self
    }

    /// What becomes of a request of which nobody can decide: its levels can't be, or Redis gave no answer, and a limit
    /// wants an [error](crate::Outage::Error) then; by default the process decides. Default: [`OnError::usual`].
    pub fn on_error(mut self, error: impl Fn(&Error) -> OnError + Send + Sync + 'static) -> Self {
        self.0.on_error = Box::new(error);
        self
    }

    /// Makes the layer.
    ///
    /// # Errors
    /// [`Error::Config`] without a level.
    pub fn build(self) -> Result<RateLimitLayer, Error> {
        if self.0.levels.is_empty() {
            let (problem, allowed) = ("none".to_owned(), "at least one");
            return Err(Error::Config { field: "level", problem, allowed });
        }
        Ok(RateLimitLayer(Arc::new(self.0)))
    }

    fn find(
        mut self,
        find: impl Fn(&Parts, u64, &mut Vec<Level>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        self.0.levels.push(Box::new(find));
        self
    }
}

impl Rules {
    /// What this request has to pass.
    pub(super) fn levels(&self, request: &Parts) -> Result<Vec<Level>, Error> {
        let cost = self.cost.as_ref().map_or(1, |cost| cost(request));
        let mut levels = Vec::with_capacity(self.levels.len());
        for find in &self.levels {
            find(request, cost, &mut levels)?;
        }
        if cost == 0 {
            levels.retain(|level| level.cost > 0);
        }
        // Nobody would give them back.
        let permits =
            levels.iter().find(|level| matches!(level.limit.rule(), Rule::Permits { .. }));
        match permits {
            Some(level) => Err(level.limit.unsupported("http", &level.limit.rule())),
            None => Ok(levels),
        }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimitService<S>;

    fn layer(&self, inner: S) -> RateLimitService<S> {
        RateLimitService::new(inner, self.0.clone())
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RateLimitLayer").field(&self.0).finish()
    }
}

impl fmt::Debug for RateLimitBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RateLimitBuilder").field(&self.0).finish()
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("limiter", &self.limiter)
            .field("headers", &self.headers)
            .field("levels", &self.levels.len())
            .finish_non_exhaustive()
    }
}
