//! What the load asks for.

use rand::SeedableRng;
use rand::rngs::StdRng;
use russet_storefront::catalog::Catalog;
use russet_storefront::load::{Ask, Draw, Mix, Popularity};
use russet_storefront::origin::fill;

const DRAWS: u32 = 400_000;

fn draw(popularity: Popularity) -> (Catalog, Draw) {
    let catalog = Catalog::load().unwrap();
    let departures = fill::departures(&catalog, 50_000);
    let draw = Draw::new(&catalog, &departures, popularity, Mix::default()).unwrap();
    (catalog, draw)
}

/// Pearson's statistic over all routes that are expected at least five times, the others as one.
fn chi_square(drawn: &[u32], weights: &[f64]) -> (f64, f64) {
    let sum: f64 = weights.iter().sum();
    let (mut statistic, mut cells, mut rest) = (0.0, 0.0, (0.0, 0.0));
    for (count, weight) in drawn.iter().zip(weights) {
        let (seen, expected) = (f64::from(*count), weight / sum * f64::from(DRAWS));
        if expected >= 5.0 {
            statistic += (seen - expected).powi(2) / expected;
            cells += 1.0;
        } else {
            rest = (rest.0 + seen, rest.1 + expected);
        }
    }
    if rest.1 > 0.0 {
        statistic += (rest.0 - rest.1).powi(2) / rest.1;
        cells += 1.0;
    }
    (statistic, cells - 1.0)
}

fn routes(draw: &Draw, count: usize) -> Vec<u32> {
    let mut random = StdRng::seed_from_u64(2_008);
    let mut drawn = vec![0; count];
    for _ in 0..DRAWS {
        drawn[draw.route(&mut random) as usize] += 1;
    }
    drawn
}

#[test]
fn routes_are_drawn_as_often_as_they_were_flown() {
    let (catalog, draw) = draw(Popularity::Flights);
    let weights: Vec<f64> = catalog.routes.iter().map(|r| f64::from(r.flights)).collect();
    let (statistic, freedom) = chi_square(&routes(&draw, weights.len()), &weights);
    // The statistic has the mean `freedom` and the variance twice that: five deviations.
    assert!(
        (statistic - freedom).abs() < 5.0 * (2.0 * freedom).sqrt(),
        "{statistic} for {freedom}"
    );
}

#[test]
fn routes_are_drawn_by_zipf() {
    let (catalog, draw) = draw(Popularity::Zipf(1.1));
    let mut by_rank: Vec<usize> = (0..catalog.routes.len()).collect();
    by_rank.sort_by_key(|route| std::cmp::Reverse(catalog.routes[*route].flights));
    let mut weights = vec![0.0; by_rank.len()];
    for (rank, route) in by_rank.into_iter().enumerate() {
        weights[route] = 1.0 / ((rank + 1) as f64).powf(1.1);
    }
    let (statistic, freedom) = chi_square(&routes(&draw, weights.len()), &weights);
    assert!(
        (statistic - freedom).abs() < 5.0 * (2.0 * freedom).sqrt(),
        "{statistic} for {freedom}"
    );
}

#[test]
fn the_mix_is_met_and_every_request_can_be_answered() {
    let (catalog, draw) = draw(Popularity::Flights);
    let departures = fill::departures(&catalog, 50_000);
    let mut random = StdRng::seed_from_u64(1);
    let (mut kinds, mut firsts) = ([0_u32; 4], 0_u32);
    for _ in 0..DRAWS {
        match draw.next(&mut random) {
            Ask::Route(id) => {
                kinds[0] += 1;
                firsts += u32::from(id.number == 1);
                assert!((1..=departures[id.route as usize]).contains(&id.number));
            }
            Ask::Airport { iata, page } => {
                kinds[1] += 1;
                let pages = catalog.routes_from(&iata).len().div_ceil(20) as u32;
                assert!((1..=pages).contains(&page), "{iata} has {pages} pages, not {page}");
            }
            Ask::State { state, page } => {
                kinds[2] += 1;
                let pages = catalog.routes_from_state(&state).unwrap().len().div_ceil(20) as u32;
                assert!((1..=pages).contains(&page), "{state} has {pages} pages, not {page}");
            }
            Ask::Fare { fare_cents, .. } => {
                kinds[3] += 1;
                assert!((100..=1_000_000).contains(&fare_cents));
            }
        }
    }
    for (seen, share) in kinds.into_iter().zip([0.85, 0.10, 0.045, 0.005]) {
        let (seen, expected) = (f64::from(seen), share * f64::from(DRAWS));
        let deviation = (expected * (1.0 - share)).sqrt();
        assert!((seen - expected).abs() < 5.0 * deviation, "{seen}, expected {expected}");
    }
    assert!(f64::from(firsts) > 0.75 * f64::from(kinds[0]), "most ask for the next departure");
}

#[test]
fn the_same_seed_asks_the_same() {
    let (_, draw) = draw(Popularity::Flights);
    let asks = |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        (0..200).map(|_| draw.next(&mut random)).collect::<Vec<_>>()
    };
    assert_eq!(asks(3), asks(3));
    assert_ne!(asks(3), asks(4));
}

#[test]
fn a_mix_is_read_or_refused_with_what_is_allowed() {
    let mix: Mix = "route=1, airport=0,state=2.5".parse().unwrap();
    assert_eq!(mix, Mix { route: 1.0, airport: 0.0, state: 2.5, fare: 0.0 });
    for wrong in ["", "route", "route=x", "route=-1", "route=inf", "planes=1", "route=0,fare=0"] {
        let error = wrong.parse::<Mix>().unwrap_err().to_string();
        assert!(error.contains("route=85"), "{wrong}: {error}");
    }
}
