//! What a seat costs, and how far it flies.
//!
//! ```text
//! fare = ($45 + $0.11 × km) × (1 − 0.30 × ln(1 + flights) ÷ ln(1 + 13,788)) × day
//! ```
//!
//! in whole dollars: distance makes a route dear, popularity makes it cheaper (by 30% on the
//! busiest route, which had 13,788 flights in 2008), and `day` says that some departures sell
//! better than others: 1.00 for the first departure of a route, and a fixed value of 0.88 to
//! 1.18 for each further one.

/// Flights on the busiest route of 2008, Los Angeles to San Francisco or back.
pub const BUSIEST: u32 = 13_788;

const EARTH_RADIUS_KM: f64 = 6_371.0;

/// Great-circle distance in kilometres between two points given as (latitude, longitude) in
/// degrees, by the haversine formula on a sphere of 6,371 km: right to about 0.5%.
#[must_use]
pub fn distance_km(from: (f64, f64), to: (f64, f64)) -> u32 {
    let (lat1, lat2) = (from.0.to_radians(), to.0.to_radians());
    let half_lat = ((lat2 - lat1) / 2.0).sin();
    let half_lon = ((to.1 - from.1).to_radians() / 2.0).sin();
    let a = half_lat * half_lat + lat1.cos() * lat2.cos() * half_lon * half_lon;
    (2.0 * EARTH_RADIUS_KM * a.sqrt().min(1.0).asin()).round() as u32
}

/// Fare in cents of departure `number` (1 is the first) of a route.
#[must_use]
pub fn fare_cents(route: u32, number: u32, distance_km: u32, flights: u32) -> u32 {
    let distance = 45.0 + 0.11 * f64::from(distance_km);
    let popularity = 1.0 - 0.30 * f64::from(1 + flights).ln() / f64::from(1 + BUSIEST).ln();
    let day = if number == 1 { 1.0 } else { 0.88 + f64::from(mix(route, number) % 31) / 100.0 };
    (distance * popularity * day).round() as u32 * 100
}

/// Seats that departure `number` of a route still has: between 1 and what the aircraft for
/// that distance holds (76, 150 or 189).
#[must_use]
pub fn seats(route: u32, number: u32, distance_km: u32) -> u32 {
    let capacity = match distance_km {
        0..=600 => 76,
        601..=2_000 => 150,
        _ => 189,
    };
    1 + mix(number, route) % capacity
}

/// A fixed, well-spread number for a pair: the same on every machine and in every run.
fn mix(a: u32, b: u32) -> u32 {
    let mut x = (u64::from(a) << 32 | u64::from(b)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)) as u32
}
