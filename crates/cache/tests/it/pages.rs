//! A list whose items are cached one by one.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use russet_cache::{Cache, ListPage, Tier};
use russet_testkit::contract;

use crate::support::{At, Held, Route, caches, refuses_what_was_removed, route, routes, space};

contract!(a_list_is_cached_once_and_its_items_one_by_one);
pub(crate) async fn a_list_is_cached_once_and_its_items_one_by_one(at: impl Into<At>) {
    let (redis, space) = space(at, "pages").await;
    let items = routes(&redis, &space).build().unwrap();
    let lists: Cache<Vec<u64>> = caches(&redis, &space, "list").build().unwrap();
    items.insert(2_u64, route(20)).await.unwrap();
    let asked: Arc<Mutex<Vec<Vec<u64>>>> = Arc::default();
    let page = async |number: u64, gone: &'static [u64]| {
        let asked = asked.clone();
        let load = move |missing: Vec<u64>, _| {
            asked.lock().unwrap().push(missing.clone());
            async move {
                let there = missing.into_iter().filter(|id| !gone.contains(id));
                let there: Vec<_> =
                    there.map(|id| (id, route(u32::try_from(id).unwrap()))).collect();
                Ok::<_, Infallible>(there)
            }
        };
        let list = move |_| async move { Ok::<_, Infallible>(vec![number, number + 1, 2]) };
        lists.get_or_load_items(("by-fare", number), list, &items, load).await.unwrap()
    };
    let found: ListPage<u64, Route> = page(5, &[6]).await;
    // In the list's order, without those that are gone.
    let got: Vec<(u64, u32)> = found.items.iter().map(|(id, item)| (*id, item.fare)).collect();
    assert_eq!(got, [(5, 5), (2, 20)]);
    assert_eq!((found.list, found.gone), (Tier::Origin, vec![6]));
    // Each item was loaded once, in one call.
    let first: Vec<HashSet<u64>> =
        asked.lock().unwrap().drain(..).map(|ids| ids.into_iter().collect()).collect();
    assert_eq!(first, [HashSet::from([5, 6])]);
    assert_eq!(page(5, &[]).await.list, Tier::Redis);
    assert!(asked.lock().unwrap().is_empty());
    // Another page shares the items that it has; one that changed is loaded alone.
    items.remove(2_u64).await.unwrap();
    assert_eq!(page(4, &[]).await.items.len(), 3);
    let mut second = asked.lock().unwrap().drain(..).flatten().collect::<Vec<_>>();
    second.sort_unstable();
    assert_eq!(second, [2, 4]);
    // What is empty is a list, too.
    let none = move |_| async move { Ok::<_, Infallible>(Vec::<u64>::new()) };
    let load = |_: Vec<u64>, _| async move { Ok::<Vec<(u64, Route)>, Infallible>(Vec::new()) };
    let empty = lists.get_or_load_items("empty", none, &items, load).await.unwrap();
    assert!(empty.items.is_empty() && empty.gone.is_empty());
}

contract!(an_item_that_is_removed_while_it_is_loaded_is_not_filled);
async fn an_item_that_is_removed_while_it_is_loaded_is_not_filled(at: impl Into<At>) {
    let (redis, space) = space(at, "pages-removed").await;
    let (items, loader) = (routes(&redis, &space).build().unwrap(), Held::new());
    let lists: Cache<Vec<u64>> = Cache::builder(&redis, &space, "list").build().unwrap();
    let load = {
        let loader = loader.clone();
        move |missing, _| loader.clone().load(missing)
    };
    let list = |_| async { Ok::<_, Infallible>(vec![1_u64, 2]) };
    let loads = lists.get_or_load_items("page", list, &items, load);
    refuses_what_was_removed(&items, &loader, loads).await;
}
