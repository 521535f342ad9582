//! The airports and routes themselves: facts that never change while the shop runs, embedded in
//! the binary. What does change (fares, seats) is in the database.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::fare;

const AIRPORTS: &str = include_str!("../data/airports.csv");
const FLIGHTS: &str = include_str!("../data/flights-airport.csv");

/// City and state of the four airports that have neither in the data.
const GAPS: [(&str, &str, &str); 4] = [
    ("CLD", "Carlsbad", "CA"),
    ("HHH", "Hilton Head Island", "SC"),
    ("MQT", "Marquette", "MI"),
    ("SCE", "State College", "PA"),
];

/// An airport that at least one route touches.
#[derive(Debug, Clone)]
pub struct Airport {
    /// Three letters, such as `SEA`.
    pub iata: String,
    /// Its own name.
    pub name: String,
    /// The city it serves.
    pub city: String,
    /// Two letters, such as `WA`; territories have theirs (`PR`, `VI`).
    pub state: String,
    /// Degrees, north and east positive.
    pub position: (f64, f64),
    /// Flights that left or arrived in 2008.
    pub flights: u32,
}

/// A route between two airports; its id is its place in [`Catalog::routes`].
#[derive(Debug, Clone, Copy)]
pub struct RouteFacts {
    /// Index into [`Catalog::airports`].
    pub origin: u16,
    /// Index into [`Catalog::airports`].
    pub destination: u16,
    /// Flights in 2008: how popular it is.
    pub flights: u32,
    /// Great-circle distance.
    pub distance_km: u32,
}

/// Everything that the two data files say.
#[derive(Debug)]
pub struct Catalog {
    /// The airports in use, by IATA code.
    pub airports: Vec<Airport>,
    /// The routes, by origin and destination.
    pub routes: Vec<RouteFacts>,
    /// Positions of all airfields of the file: together they draw the country.
    pub airfields: Vec<(f64, f64)>,
    by_iata: HashMap<String, u16>,
    by_pair: HashMap<(u16, u16), u32>,
    by_origin: Vec<Vec<u32>>,
    by_state: BTreeMap<String, Vec<u32>>,
}

/// The data could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A line is no valid record.
    #[error("a line of the embedded data can't be read")]
    Csv(#[from] csv::Error),
    /// A route names an airport that the other file lacks.
    #[error("route data names the airport {0}, which the airport data lacks")]
    UnknownAirport(String),
}

#[derive(Deserialize)]
struct AirportLine {
    iata: String,
    name: String,
    city: String,
    state: String,
    latitude: f64,
    longitude: f64,
}

#[derive(Deserialize)]
struct FlightLine {
    origin: String,
    destination: String,
    count: u32,
}

impl Catalog {
    /// Reads the embedded files (a few milliseconds).
    pub fn load() -> Result<Self, CatalogError> {
        let lines: Vec<AirportLine> = csv::Reader::from_reader(AIRPORTS.as_bytes())
            .deserialize()
            .collect::<Result<_, _>>()?;
        let flights: Vec<FlightLine> =
            csv::Reader::from_reader(FLIGHTS.as_bytes()).deserialize().collect::<Result<_, _>>()?;

        let mut traffic: BTreeMap<&str, u32> = BTreeMap::new();
        for line in &flights {
            *traffic.entry(&line.origin).or_default() += line.count;
            *traffic.entry(&line.destination).or_default() += line.count;
        }
        let known: HashMap<&str, &AirportLine> =
            lines.iter().map(|l| (l.iata.as_str(), l)).collect();
        let airports = traffic
            .iter()
            .map(|(iata, flights)| match known.get(iata) {
                Some(line) => Ok(airport(line, *flights)),
                None => Err(CatalogError::UnknownAirport((*iata).to_owned())),
            })
            .collect::<Result<Vec<_>, _>>()?;

        let by_iata: HashMap<String, u16> =
            airports.iter().enumerate().map(|(i, a)| (a.iata.clone(), i as u16)).collect();
        let mut catalog = Self {
            by_origin: vec![Vec::new(); airports.len()],
            by_state: airports.iter().map(|a| (a.state.clone(), Vec::new())).collect(),
            by_pair: HashMap::with_capacity(flights.len()),
            routes: Vec::with_capacity(flights.len()),
            airfields: lines.iter().map(|l| (l.latitude, l.longitude)).collect(),
            by_iata,
            airports,
        };
        for line in &flights {
            catalog.add(line);
        }
        Ok(catalog)
    }

    fn add(&mut self, line: &FlightLine) {
        let (origin, destination) = (self.by_iata[&line.origin], self.by_iata[&line.destination]);
        let (from, to) =
            (&self.airports[usize::from(origin)], &self.airports[usize::from(destination)]);
        let id = self.routes.len() as u32;
        self.routes.push(RouteFacts {
            origin,
            destination,
            flights: line.count,
            distance_km: fare::distance_km(from.position, to.position),
        });
        self.by_pair.insert((origin, destination), id);
        self.by_origin[usize::from(origin)].push(id);
        if let Some(routes) = self.by_state.get_mut(&from.state) {
            routes.push(id);
        }
    }

    /// The airport with this IATA code, in any case.
    #[must_use]
    pub fn airport(&self, iata: &str) -> Option<&Airport> {
        self.index(iata).map(|index| &self.airports[usize::from(index)])
    }

    /// The route's id, if there is one between the two.
    #[must_use]
    pub fn route(&self, origin: &str, destination: &str) -> Option<u32> {
        self.by_pair.get(&(self.index(origin)?, self.index(destination)?)).copied()
    }

    /// Routes that leave this airport.
    #[must_use]
    pub fn routes_from(&self, iata: &str) -> &[u32] {
        self.index(iata).map_or(&[], |index| self.by_origin[usize::from(index)].as_slice())
    }

    /// Routes that leave an airport of this state; `None` for a state without airports.
    #[must_use]
    pub fn routes_from_state(&self, state: &str) -> Option<&[u32]> {
        self.by_state.get(&state.to_ascii_uppercase()).map(Vec::as_slice)
    }

    /// The states that have an airport, in order.
    pub fn states(&self) -> impl Iterator<Item = &str> {
        self.by_state.keys().map(String::as_str)
    }

    /// Origin and destination of a route.
    #[must_use]
    pub fn ends(&self, route: u32) -> (&Airport, &Airport) {
        let facts = &self.routes[route as usize];
        (&self.airports[usize::from(facts.origin)], &self.airports[usize::from(facts.destination)])
    }

    /// The route with the most flights.
    #[must_use]
    pub fn busiest(&self) -> u32 {
        let routes = self.routes.iter().zip(0..);
        routes.max_by_key(|(route, _)| route.flights).map_or(0, |(_, id)| id)
    }

    fn index(&self, iata: &str) -> Option<u16> {
        self.by_iata.get(&iata.to_ascii_uppercase()).copied()
    }
}

fn airport(line: &AirportLine, flights: u32) -> Airport {
    let gap = GAPS.iter().find(|(iata, ..)| *iata == line.iata);
    let (city, state) = gap.map_or((line.city.as_str(), line.state.as_str()), |(_, c, s)| (*c, *s));
    Airport {
        iata: line.iata.clone(),
        name: line.name.clone(),
        city: city.to_owned(),
        state: state.to_owned(),
        position: (line.latitude, line.longitude),
        flights,
    }
}
