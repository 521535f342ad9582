//! What visitors ask for.

use std::str::FromStr;

use rand::distr::{Distribution, weighted::WeightedIndex};
use rand::{Rng, RngExt};

use crate::catalog::Catalog;
use crate::fare;
use crate::origin::ProductId;
use crate::shop::BLOCK;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The page of a product.
    Route(ProductId),
    /// Departures from an airport.
    Airport {
        /// Its code.
        iata: String,
        /// From 1.
        page: u32,
    },
    /// Departures from a state.
    State {
        /// Its letters.
        state: String,
        /// From 1.
        page: u32,
    },
    /// A fare change.
    Fare {
        /// Of which product.
        id: ProductId,
        /// The new fare.
        fare_cents: u32,
    },
}

/// How often each route is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Popularity {
    /// As often as it was flown in 2008.
    Flights,
    /// The route of rank r (by flights) as often as r to the power of minus this.
    Zipf(f64),
}

/// Shares of the four kinds of requests; they need not add up to 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// Pages of products.
    pub route: f64,
    /// Departures from an airport.
    pub airport: f64,
    /// Departures from a state.
    pub state: f64,
    /// Fare changes.
    pub fare: f64,
}

impl Default for Mix {
    fn default() -> Self {
        Self { route: 85.0, airport: 10.0, state: 4.5, fare: 0.5 }
    }
}

/// A mix that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; a mix is four shares such as route=85,airport=10,state=4.5,fare=0.5, none negative, not all zero; one left out is zero"
)]
pub struct MixError(String);

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let mut mix = Self { route: 0.0, airport: 0.0, state: 0.0, fare: 0.0 };
        for part in text.split(',') {
            let (name, share) =
                part.split_once('=').ok_or_else(|| MixError(format!("`{part}` is no share")))?;
            let share = match share.trim().parse::<f64>() {
                Ok(share) if share.is_finite() && share >= 0.0 => share,
                _ => return Err(MixError(format!("`{share}` is no share for {name}"))),
            };
            match name.trim() {
                "route" => mix.route = share,
                "airport" => mix.airport = share,
                "state" => mix.state = share,
                "fare" => mix.fare = share,
                other => return Err(MixError(format!("`{other}` is no kind of request"))),
            }
        }
        if mix.route + mix.airport + mix.state + mix.fare <= 0.0 {
            return Err(MixError(format!("`{text}` asks for nothing")));
        }
        Ok(mix)
    }
}

/// Draws requests.
#[derive(Debug)]
pub struct Draw {
    routes: WeightedIndex<f64>,
    kinds: WeightedIndex<f64>,
    facts: Vec<Facts>,
}

#[derive(Debug)]
struct Facts {
    iata: String,
    airport_pages: u32,
    state: String,
    state_pages: u32,
    departures: u32,
    fare_cents: u32,
}

impl Draw {
    /// Requests for the routes of `catalog`, with so many `departures` each.
    pub fn new(
        catalog: &Catalog,
        departures: &[u32],
        popularity: Popularity,
        mix: Mix,
    ) -> Result<Self, rand::distr::weighted::Error> {
        let pages = |routes: usize| (routes as u32).div_ceil(BLOCK).max(1);
        let facts = (0..catalog.routes.len() as u32).zip(departures).map(|(route, departures)| {
            let (facts, from) = (&catalog.routes[route as usize], catalog.ends(route).0);
            Facts {
                iata: from.iata.clone(),
                airport_pages: pages(catalog.routes_from(&from.iata).len()),
                state: from.state.clone(),
                state_pages: pages(catalog.routes_from_state(&from.state).map_or(0, <[u32]>::len)),
                departures: *departures,
                fare_cents: fare::fare_cents(route, 1, facts.distance_km, facts.flights),
            }
        });
        Ok(Self {
            routes: WeightedIndex::new(weights(catalog, popularity))?,
            kinds: WeightedIndex::new([mix.route, mix.airport, mix.state, mix.fare])?,
            facts: facts.collect(),
        })
    }

    /// The next request.
    pub fn next(&self, random: &mut impl Rng) -> Ask {
        let kind = self.kinds.sample(random);
        let route = self.route(random);
        let facts = &self.facts[route as usize];
        match kind {
            0 => Ask::Route(self.product(route, random)),
            1 => {
                Ask::Airport { iata: facts.iata.clone(), page: front(facts.airport_pages, random) }
            }
            2 => Ask::State { state: facts.state.clone(), page: front(facts.state_pages, random) },
            _ => Ask::Fare {
                id: self.product(route, random),
                fare_cents: (f64::from(facts.fare_cents) * random.random_range(0.80..1.25)) as u32,
            },
        }
    }

    /// A route, by popularity.
    pub fn route(&self, random: &mut impl Rng) -> u32 {
        self.routes.sample(random) as u32
    }

    fn product(&self, route: u32, random: &mut impl Rng) -> ProductId {
        ProductId { route, number: front(self.facts[route as usize].departures, random) }
    }
}

/// A number from 1 to `most`, the front ones more often: at least n with the probability 1 / n², as
/// most people take the next flight and the first page; what lies beyond `most` is 1.
fn front(most: u32, random: &mut impl Rng) -> u32 {
    let n = (1.0 - random.random::<f64>()).powf(-0.5);
    if n < f64::from(most) + 1.0 { n as u32 } else { 1 }
}

fn weights(catalog: &Catalog, popularity: Popularity) -> Vec<f64> {
    match popularity {
        Popularity::Flights => catalog.routes.iter().map(|r| f64::from(r.flights)).collect(),
        Popularity::Zipf(exponent) => {
            let mut by_rank: Vec<usize> = (0..catalog.routes.len()).collect();
            by_rank.sort_by_key(|route| std::cmp::Reverse(catalog.routes[*route].flights));
            let mut weights = vec![0.0; by_rank.len()];
            for (rank, route) in by_rank.into_iter().enumerate() {
                weights[route] = (rank as f64 + 1.0).powf(-exponent);
            }
            weights
        }
    }
}
