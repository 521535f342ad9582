//! A service behind limits.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{Either, Full};
use tower_service::Service;

use super::layer::{OnError, Rules};
use super::{Limited, problem};
use crate::Level;
use crate::error::Error;

/// A service behind a [`RateLimitLayer`](super::RateLimitLayer). The body of its responses is the service's own, or that of
/// a refusal.
#[derive(Debug, Clone)]
pub struct RateLimitService<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> RateLimitService<S> {
    pub(super) fn new(inner: S, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
    }
}

impl<S, B, R> Service<Request<B>> for RateLimitService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
    R: Send,
{
    type Response = Response<Either<Full<Bytes>, R>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready, and not its clone, is called.
        let inner = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, inner);
        let rules = self.rules.clone();
        let (mut parts, body) = request.into_parts();
        let levels = rules.levels(&parts);
        Box::pin(async move {
            let limited = match rules.decide(levels).await {
                Next::GoesOn(limited) => limited,
                Next::Answered(response) => {
                    return Ok(response.map(|body| Either::Left(Full::new(body))));
                }
            };
            if let Some(limited) = &limited {
                parts.extensions.insert(limited.clone());
            }
            let mut response = inner.call(Request::from_parts(parts, body)).await?;
            if let Some(limited) = limited {
                rules.tell(&limited, &mut response);
            }
            Ok(response.map(Either::Right))
        })
    }
}

/// What becomes of a request.
enum Next {
    GoesOn(Option<Limited>),
    Answered(Response<Bytes>),
}

impl Rules {
    async fn decide(&self, levels: Result<Vec<Level>, Error>) -> Next {
        let decided = match levels {
            Ok(levels) if levels.is_empty() => return Next::GoesOn(None),
            Ok(levels) => self.limiter.check(&levels).await.map(|decision| (levels, decision)),
            Err(error) => Err(error),
        };
        let (levels, decision) = match decided {
            Ok(decided) => decided,
            Err(error) => return self.failed(&error),
        };
        let denied = (!decision.is_allowed()).then(|| (self.denied)(&decision));
        let turn = decision.delay;
        let limited = Limited::new(self.limiter.clone(), levels, decision);
        if let Some(mut response) = denied {
            self.tell(&limited, &mut response);
            return Next::Answered(response);
        }
        if !turn.is_zero() {
            tokio::time::sleep(turn).await;
        }
        Next::GoesOn(Some(limited))
    }

    fn failed(&self, error: &Error) -> Next {
        let status = match (self.on_error)(error) {
            OnError::Admit => return Next::GoesOn(None),
            OnError::Refuse(status) => status,
        };
        if status.is_server_error() {
            tracing::error!(%error, "a request was refused, because nobody could decide of it");
        }
        // What is wrong inside is nobody's business outside.
        let detail = status.is_client_error().then(|| error.to_string());
        Next::Answered(problem::plain(status, detail))
    }

    fn tell<R>(&self, limited: &Limited, response: &mut Response<R>) {
        self.headers.write(response.headers_mut(), limited.levels(), &limited.decision());
        response.extensions_mut().insert(limited.clone());
    }
}
