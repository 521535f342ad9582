//! A list whose items are cached one by one.

use std::hash::Hash;
use std::sync::Arc;

use russet_core_conn::Segments;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::error::LoadError;
use crate::load::{Load, LoadContext};
use crate::lookup::Tier;

/// The items of a list.
#[derive(Debug)]
#[non_exhaustive]
pub struct ListPage<K, I> {
    /// Those that there are, in the order of the list.
    pub items: Vec<(K, Arc<I>)>,
    /// Those that the list names and that do not exist (any more): the list is older than that.
    pub gone: Vec<K>,
    /// Where the list came from.
    pub list: Tier,
}

impl<K> Cache<Vec<K>>
where
    K: Segments + Clone + Eq + Hash + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// A page of a list: this cache holds which keys are on it, and `items` each of them, as
    /// [`get_or_load`](Cache::get_or_load) and [`get_or_load_many`](Cache::get_or_load_many) do. An item that is on several
    /// pages is cached once, and when it changes it is removed once; which pages there are changes by themselves: remove
    /// them by a [tag](Load::tags), or give them a short TTL. Two round trips where all is cached; the items that are not
    /// are loaded in one call.
    ///
    /// ```no_run
    /// # use russet_cache::{Cache, LoadError};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Product { name: String }
    /// # async fn ids_of(_: u32) -> Result<Vec<u64>, std::io::Error> { Ok(vec![]) }
    /// # async fn products(_: Vec<u64>) -> Result<Vec<(u64, Product)>, std::io::Error> { Ok(vec![]) }
    /// # async fn example(lists: Cache<Vec<u64>>, items: Cache<Product>) -> Result<(), LoadError<std::io::Error>> {
    /// let page = 1;
    /// let found = lists
    ///     .get_or_load_items(("new", page), move |_| ids_of(page), &items, |ids, _| products(ids))
    ///     .await?;
    /// for (id, product) in &found.items {
    ///     println!("{id}: {}", product.name);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for one key, of either loader.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn get_or_load_items<I, L, E, Fut, Loaded, List, ListFut>(
        &self,
        list: impl Segments,
        load_list: impl FnOnce(LoadContext<Vec<K>>) -> ListFut + Send + 'static,
        items: &Cache<I>,
        load_items: impl Fn(Vec<K>, LoadContext<I>) -> Fut + Send + Sync + 'static,
    ) -> Result<ListPage<K, I>, LoadError<E>>
    where
        I: Serialize + DeserializeOwned + Send + Sync + 'static,
        L: Into<Load<I>>,
        E: Send + Sync + 'static,
        Loaded: IntoIterator<Item = (K, L)>,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
        List: Into<Load<Vec<K>>>,
        ListFut: Future<Output = Result<List, E>> + Send + 'static,
    {
        let found = self.get_or_load(list, load_list).await?;
        let keys = found.value().cloned().unwrap_or_default();
        let mut page = ListPage { items: Vec::new(), gone: Vec::new(), list: found.tier() };
        if keys.is_empty() {
            return Ok(page);
        }
        let lookups = items.get_or_load_many(keys.iter().cloned(), load_items).await?;
        for (key, lookup) in keys.into_iter().zip(lookups) {
            match lookup.into_value() {
                Some(item) => page.items.push((key, item)),
                None => page.gone.push(key),
            }
        }
        Ok(page)
    }
}
