//! The data, and what is derived from it.

use russet_storefront::catalog::Catalog;
use russet_storefront::fare::{distance_km, fare_cents, seats};
use russet_storefront::origin::fill::{self, MOST_PRODUCTS};
use russet_storefront::origin::{Origin, Place, ProductId};

#[test]
fn all_routes_and_airports_are_there() {
    let catalog = Catalog::load().unwrap();
    assert_eq!(catalog.routes.len(), 5_366);
    assert_eq!(catalog.airports.len(), 305);
    assert_eq!(catalog.airfields.len(), 3_376);
    let flights: u64 = catalog.routes.iter().map(|route| u64::from(route.flights)).sum();
    assert_eq!(flights, 7_009_728);
    let busiest = catalog.routes.iter().max_by_key(|route| route.flights).unwrap();
    assert_eq!(busiest.flights, russet_storefront::fare::BUSIEST);
}

#[test]
fn the_four_airports_without_a_state_have_one() {
    let catalog = Catalog::load().unwrap();
    assert_eq!(catalog.airport("mqt").unwrap().state, "MI");
    assert!(catalog.states().all(|state| state.len() == 2 && state != "NA"));
    let listed: usize =
        catalog.states().map(|state| catalog.routes_from_state(state).unwrap().len()).sum();
    assert_eq!(listed, 5_366, "every route leaves from exactly one state");
}

#[test]
fn distances_are_those_of_the_globe() {
    let catalog = Catalog::load().unwrap();
    // Great-circle distances between the airports, in km, as published.
    for (from, to, published) in [
        ("JFK", "LAX", 3_983.0),
        ("SEA", "ANC", 2_327.0),
        ("LAX", "HNL", 4_113.0),
        ("LGA", "BOS", 296.0),
        ("OGG", "HNL", 162.0),
        ("ATL", "MCO", 650.0),
    ] {
        let route = catalog.route(from, to).unwrap();
        let km = f64::from(catalog.routes[route as usize].distance_km);
        assert!(
            (km / published - 1.0).abs() < 0.01,
            "{from}-{to}: {km} km, published {published} km"
        );
    }
    assert_eq!(distance_km((0.0, 0.0), (0.0, 180.0)), 20_015, "half around the equator");
    assert_eq!(distance_km((47.4, -122.3), (47.4, -122.3)), 0);
}

#[test]
fn fares_follow_the_formula() {
    // ($45 + $0.11 × 1,000) × (1 − 0.30 × ln 1,001 ÷ ln 13,789) = 155 × 0.78255 = $121.
    assert_eq!(fare_cents(0, 1, 1_000, 1_000), 12_100);
    // The busiest route is 30% cheaper than its distance says: (45 + 0.11 × 543) × 0.70.
    assert_eq!(fare_cents(9, 1, 543, 13_788), 7_300);
    for number in 2..2_000 {
        let fare = f64::from(fare_cents(3, number, 2_000, 500));
        let first = f64::from(fare_cents(3, 1, 2_000, 500));
        assert!((0.87..1.19).contains(&(fare / first)), "departure {number}");
        assert!((1..=150).contains(&seats(3, number, 2_000)));
    }
    assert!(fare_cents(0, 1, 3_000, 100) > fare_cents(0, 1, 300, 100), "farther is dearer");
    assert!(fare_cents(0, 1, 3_000, 100) > fare_cents(0, 1, 3_000, 10_000), "popular is cheaper");
}

#[test]
fn the_scale_is_met_exactly_and_by_popularity() {
    let catalog = Catalog::load().unwrap();
    for products in [5_366, 5_367, 20_000, 1_000_003, MOST_PRODUCTS] {
        let departures = fill::departures(&catalog, products);
        assert!(departures.iter().all(|count| *count >= 1));
        assert_eq!(departures.iter().map(|n| u64::from(*n)).sum::<u64>(), u64::from(products));
    }
    let real = fill::departures(&catalog, 7_009_728);
    for (route, count) in catalog.routes.iter().zip(real) {
        assert!(
            count.abs_diff(route.flights) <= 12,
            "{} flights, {count} departures",
            route.flights
        );
    }
}

#[tokio::test]
async fn the_database_holds_what_the_catalog_and_the_formula_say() {
    let catalog = Catalog::load().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    let path = fill::prepare(&catalog, folder.path(), 60_000, |rows| told.push(rows)).unwrap();
    assert_eq!(told, [50_000, 60_000], "progress");
    let origin = Origin::open(&path, std::time::Duration::ZERO).unwrap();

    let found = origin.product("SEA".into(), "LAX".into(), 2).await.unwrap().unwrap();
    let route = catalog.route("SEA", "LAX").unwrap();
    let facts = catalog.routes[route as usize];
    assert_eq!(found.id(), ProductId { route, number: 2 });
    assert_eq!(found.fare_cents, fare_cents(route, 2, facts.distance_km, facts.flights));
    assert_eq!((found.flights, found.distance_km), (facts.flights, facts.distance_km));
    assert_eq!(origin.product("SEA".into(), "SEA".into(), 1).await.unwrap(), None);

    let ids = vec![
        found.id(),
        ProductId { route: 5_365, number: 1 },
        ProductId { route: 1, number: 9_999 },
    ];
    let many = origin.products(ids).await.unwrap();
    assert_eq!(many.len(), 2, "what there is not is left out");
    assert!(many.contains(&found));

    let listed = origin.cheapest(Place::Airport("SEA".into()), 0, 1_000).await.unwrap();
    let mut all = catalog.routes_from("SEA").to_vec();
    all.sort_by_key(|id| {
        let facts = catalog.routes[*id as usize];
        (fare_cents(*id, 1, facts.distance_km, facts.flights), *id)
    });
    assert_eq!(listed, all, "cheapest first");
    assert_eq!(origin.queries(), 4, "each read is counted");
    assert_eq!(origin.all_fares().await.unwrap().len(), 60_000);
}

#[tokio::test]
async fn a_database_is_used_again_if_it_fits() {
    let catalog = Catalog::load().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = fill::prepare(&catalog, folder.path(), 5_366, |_| {}).unwrap();
    let first = Origin::open(&path, std::time::Duration::ZERO).unwrap();
    let id = ProductId { route: 0, number: 1 };
    assert!(first.set_fare(id, 12_345).await.unwrap());
    assert!(!first.set_fare(ProductId { route: 0, number: 2 }, 1).await.unwrap());
    let identity = first.identity().to_owned();
    drop(first);

    let path = fill::prepare(&catalog, folder.path(), 5_366, |_| {}).unwrap();
    let again = Origin::open(&path, std::time::Duration::ZERO).unwrap();
    assert_eq!(again.identity(), identity);
    assert_eq!(again.products(vec![id]).await.unwrap()[0].fare_cents, 12_345);
    drop(again);

    std::fs::write(&path, "not a database").unwrap();
    let path = fill::prepare(&catalog, folder.path(), 5_366, |_| {}).unwrap();
    let new = Origin::open(&path, std::time::Duration::ZERO).unwrap();
    assert_ne!(new.identity(), identity, "what is broken is filled anew");
}
