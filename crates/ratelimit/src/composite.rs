//! Limits that belong together: each of these is a decision over several [levels](crate::Level), with the names, the
//! numbers and the answers of its use. A hierarchy of any other form is [`Limiter::check`](crate::Limiter::check).

mod burst;
mod endpoint;
mod geographic;
#[cfg(feature = "maxmind")]
mod maxmind;
mod priority;
mod tenants;

pub use self::burst::{CostDecision, CostWithBurst, SustainedBurst};
pub use self::endpoint::{Endpoint, EndpointBuilder};
pub use self::geographic::{GeoResolver, Geographic, GeographicBuilder};
#[cfg(feature = "maxmind")]
pub use self::maxmind::MaxMind;
pub use self::priority::{Priority, PriorityBuilder};
pub use self::tenants::Tenants;
