//! The breaker around a service.

use std::fmt;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use super::{FleetBreaker, FleetBreakerError};

/// Puts a [`FleetBreaker`] before a service (feature `tower`): what it refuses never reaches it.
///
/// ```
/// # use russet_ratelimit::{FleetBreaker, FleetBreakerLayer};
/// # fn example(breaker: FleetBreaker<std::io::Error>) {
/// use tower::{ServiceBuilder, service_fn};
///
/// let payments = ServiceBuilder::new()
///     .layer(FleetBreakerLayer::new(&breaker))
///     .service(service_fn(async |_: u64| Ok::<_, std::io::Error>("paid")));
/// # let _ = payments; }
/// ```
///
/// Readiness is the service's own. A permit is taken for the call and not for readiness, so that a service which is ready
/// and never called holds none up.
pub struct FleetBreakerLayer<E>(FleetBreaker<E>);

/// A service behind a [`FleetBreaker`]; of [`FleetBreakerLayer`].
pub struct FleetBreakerService<S, E> {
    inner: S,
    breaker: FleetBreaker<E>,
}

impl<E> FleetBreakerLayer<E> {
    /// Of this breaker, for services whose errors it judges.
    pub fn new(breaker: &FleetBreaker<E>) -> Self {
        Self(breaker.clone())
    }
}

impl<S, E> Layer<S> for FleetBreakerLayer<E> {
    type Service = FleetBreakerService<S, E>;

    fn layer(&self, inner: S) -> Self::Service {
        FleetBreakerService { inner, breaker: self.0.clone() }
    }
}

impl<S, E, R> Service<R> for FleetBreakerService<S, E>
where
    S: Service<R, Error = E> + Clone + Send + 'static,
    S::Future: Send,
    R: Send + 'static,
    E: Send + 'static,
{
    type Response = S::Response;
    type Error = FleetBreakerError<E>;
    type Future = BoxFuture<'static, Result<S::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(FleetBreakerError::Call)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let breaker = self.breaker.clone();
        // The one that is ready, and not its clone, is called.
        let inner = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, inner);
        // The service begins when it is let in.
        Box::pin(async move { breaker.execute(async move { inner.call(request).await }).await })
    }
}

impl<E> Clone for FleetBreakerLayer<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Clone, E> Clone for FleetBreakerService<S, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), breaker: self.breaker.clone() }
    }
}

impl<E> fmt::Debug for FleetBreakerLayer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FleetBreakerLayer").field(&self.0).finish()
    }
}

impl<S, E> fmt::Debug for FleetBreakerService<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetBreakerService")
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}
