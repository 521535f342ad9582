//! Limits by where a request comes from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::error::Error;
use crate::{Decision, Ip, Limit, Limiter, Quota};

/// Says where an address is. From a table in memory: it is asked for each decision, and must not wait.
pub trait GeoResolver: Send + Sync {
    /// The country's code, as `US`; `None` where that is not known.
    fn country(&self, ip: IpAddr) -> Option<String>;
}

impl<F: Fn(IpAddr) -> Option<String> + Send + Sync> GeoResolver for F {
    fn country(&self, ip: IpAddr) -> Option<String> {
        self(ip)
    }
}

/// Three levels in one decision: all of the world, a country, and an address, which has a share of its country's limit.
#[derive(Debug, Clone)]
pub struct Geographic<R> {
    limiter: Limiter,
    resolver: R,
    global: Limit,
    countries: HashMap<Box<str>, Place>,
    others: Place,
}

/// The limits of a country or region, and of each address in it.
#[derive(Debug, Clone)]
struct Place {
    /// By which it is known; of others, each by its country's code.
    name: Option<Box<str>>,
    all: Limit,
    ip: Limit,
}

/// The codes of the countries of the European Union.
const EU: [&str; 27] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT",
    "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
];

impl<R: GeoResolver> Geographic<R> {
    /// 10,000 a minute for the world, 5,000 for the US, 3,000 for all of the EU together, 2,000 for CN and 1,000 for any
    /// other country; one percent of it for an address.
    ///
    /// # Errors
    /// Those of [`GeographicBuilder::build`].
    pub fn standard(limiter: &Limiter, name: &str, resolver: R) -> Result<Self, Error> {
        let builder = Self::builder(limiter, name, Duration::from_secs(60), resolver);
        builder.country("US", 5_000).region("EU", EU, 3_000).country("CN", 2_000).build()
    }

    /// Options; the windows are aligned, and this long.
    pub fn builder(
        limiter: &Limiter,
        name: &str,
        per: Duration,
        resolver: R,
    ) -> GeographicBuilder<R> {
        let (limiter, name) = (limiter.clone(), name.into());
        let countries = Vec::new();
        let (global, others, percent) = (10_000, 1_000, 1);
        GeographicBuilder { limiter, name, per, resolver, global, others, percent, countries }
    }

    /// Spends a unit on each of the three levels, or nothing. What is resolved to no country, or to one that is not in the
    /// table, has the default limit; each such country on its own, and all that is unresolved together.
    ///
    /// # Errors
    /// Those of [`Limiter::check`].
    pub async fn check(&self, ip: IpAddr) -> Result<Decision, Error> {
        let country = self.resolver.country(ip);
        let place = country.as_deref().and_then(|code| self.countries.get(code));
        let place = place.unwrap_or(&self.others);
        let code = place.name.as_deref().or(country.as_deref()).unwrap_or("");
        self.limiter
            .check(&[self.global.of(()), place.all.of(code), place.ip.of(Ip::new(ip))])
            .await
    }
}

/// Options for limits by place: from [`Geographic::builder`].
#[derive(Debug)]
#[must_use]
pub struct GeographicBuilder<R> {
    limiter: Limiter,
    name: Box<str>,
    per: Duration,
    resolver: R,
    global: u64,
    others: u64,
    percent: u64,
    /// Their names, the codes that stand for them, and their limits.
    countries: Vec<(Box<str>, Vec<Box<str>>, u64)>,
}

impl<R: GeoResolver> GeographicBuilder<R> {
    /// The limit of the whole world. Default: 10,000.
    pub fn global(mut self, limit: u64) -> Self {
        self.global = limit;
        self
    }

    /// The limit of a country.
    pub fn country(self, code: &str, limit: u64) -> Self {
        self.region(code, [], limit)
    }

    /// The limit of several countries together, also where the resolver tells the name of the region in their place. A
    /// country that is named again has a limit of its own.
    pub fn region<'a>(
        mut self,
        name: &str,
        countries: impl IntoIterator<Item = &'a str>,
        limit: u64,
    ) -> Self {
        let mut codes: Vec<Box<str>> = countries.into_iter().map(Box::from).collect();
        codes.push(name.into());
        self.countries.push((name.into(), codes, limit));
        self
    }

    /// The limit of each other country. Default: 1,000.
    pub fn others(mut self, limit: u64) -> Self {
        self.others = limit;
        self
    }

    /// An address has so many percent of its country's limit, at least 1 unit. Default: 1.
    pub fn percent(mut self, percent: u64) -> Self {
        self.percent = percent;
        self
    }

    /// Validates, and makes the limits. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Config`] for a share above 100 percent, and for what [`Quota::fixed`] refuses.
    pub fn build(self) -> Result<Geographic<R>, Error> {
        let Self {
            limiter,
            name: prefix,
            per,
            resolver,
            global,
            others,
            percent,
            countries: given,
        } = self;
        if percent > 100 {
            let problem = percent.to_string();
            return Err(Error::Config { field: "percent", problem, allowed: "up to 100" });
        }
        let place = |name: Option<&str>, limit: u64| {
            let share = (limit.saturating_mul(percent) / 100).max(1);
            Ok::<_, Error>(Place {
                name: name.map(Box::from),
                all: limiter.limit(&format!("{prefix}.country"), Quota::fixed(limit, per)?)?,
                ip: limiter.limit(&format!("{prefix}.ip"), Quota::fixed(share, per)?)?,
            })
        };
        let mut countries = HashMap::new();
        for (name, codes, limit) in given {
            let place = place(Some(&name), limit)?;
            countries.extend(codes.into_iter().map(|code| (code, place.clone())));
        }
        Ok(Geographic {
            global: limiter.limit(&format!("{prefix}.global"), Quota::fixed(global, per)?)?,
            countries,
            others: place(None, others)?,
            resolver,
            limiter,
        })
    }
}
