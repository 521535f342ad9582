//! What the sentinels say.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use futures_util::StreamExt;
use futures_util::future::try_join;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::told::Told;
use crate::cmd::{Class, Cmd};
use crate::error::{Error, ErrorKind, SentinelError};
use crate::link::Request;
use crate::target::Endpoint;
use crate::{FromValue, Redis};

#[derive(Debug)]
pub(super) struct Asked {
    pub(super) sentinels: Vec<Redis>,
    pub(super) name: Arc<str>,
    /// The place of the primary that more than half of them named last.
    pub(super) primary: watch::Sender<Option<Arc<str>>>,
    /// How often they were asked, and the number of the asking that gave this primary.
    pub(super) asks: AtomicU64,
    pub(super) elected: AtomicU64,
    /// One of theirs: what they name is spoken to as they are.
    pub(super) template: Endpoint,
}

pub(super) type Place = (String, u16);

/// What a sentinel tells of a server.
type Entry = HashMap<String, String>;

impl Asked {
    /// The primary that more than half of all sentinels name. All are asked at once, in one round trip each, and the
    /// slow ones are not waited for.
    pub(super) async fn primary(&self) -> Result<Endpoint, Error> {
        let number = self.asks.fetch_add(1, SeqCst) + 1;
        let ask = self.ask_for("SENTINEL GET-MASTER-ADDR-BY-NAME");
        let mut answers: FuturesUnordered<_> =
            self.sentinels.iter().map(|one| one.ask_sentinel::<Option<Place>>(&ask)).collect();
        let (listed, needed) = (self.sentinels.len(), self.needed());
        let mut votes: Vec<(Option<Place>, usize)> = Vec::new();
        let mut reason = "they name others".to_owned();
        while let Some(answer) = answers.next().await {
            let named = match answer {
                Ok(named) => named,
                Err(error) => {
                    reason = error.to_string();
                    continue;
                }
            };
            let at = votes.iter().position(|(other, _)| *other == named).unwrap_or(votes.len());
            if at == votes.len() {
                votes.push((named, 0));
            }
            votes[at].1 += 1;
            if votes[at].1 >= needed {
                return self.elect(number, votes.swap_remove(at).0);
            }
        }
        let answered = votes.iter().map(|(_, votes)| votes).sum();
        let agreed = votes.iter().map(|(_, votes)| *votes).max().unwrap_or(0);
        let none = SentinelError::NoMajority { listed, answered, agreed, needed, reason };
        Err(Error::not_sent(ErrorKind::Sentinel(none)))
    }

    fn elect(&self, number: u64, named: Option<Place>) -> Result<Endpoint, Error> {
        let Some(place) = named else {
            let unknown = SentinelError::UnknownPrimary((*self.name).into());
            return Err(Error::not_sent(ErrorKind::Sentinel(unknown)));
        };
        let endpoint = self.template.elsewhere(place);
        let place: Arc<str> = endpoint.to_string().into();
        self.primary.send_if_modified(|now| {
            // Who was asked later knows better, however late the others answered.
            let is_news = now.as_ref() != Some(&place) && self.elected.load(SeqCst) <= number;
            if is_news {
                *now = Some(place);
            }
            self.elected.fetch_max(number, SeqCst);
            is_news
        });
        Ok(endpoint)
    }

    /// The replicas that the first sentinel to answer calls usable; none if nobody answers.
    pub(super) async fn replicas(&self) -> Vec<Endpoint> {
        let ask = self.ask_for("SENTINEL REPLICAS");
        let mut answers: FuturesUnordered<_> =
            self.sentinels.iter().map(|one| one.ask_sentinel::<Vec<Entry>>(&ask)).collect();
        while let Some(answer) = answers.next().await {
            if let Ok(replicas) = answer {
                let usable = replicas.iter().filter_map(Told::read).filter(Told::is_usable);
                return usable.map(|told| self.template.elsewhere(told.place)).collect();
            }
        }
        Vec::new()
    }

    /// The primary, and all servers that more than half of the sentinels know of, each as the first of them sees it.
    pub(super) async fn servers(&self) -> Result<(Endpoint, Vec<Told>), Error> {
        try_join(self.primary(), self.told()).await
    }

    async fn told(&self) -> Result<Vec<Told>, Error> {
        let primary = self.ask_for("SENTINEL MASTER");
        let replicas = self.ask_for("SENTINEL REPLICAS");
        let (primary, replicas) = (&primary, &replicas);
        let asked = self.sentinels.iter().map(async |one| {
            let primary = one.ask_sentinel::<Entry>(primary);
            let (primary, replicas) =
                try_join(primary, one.ask_sentinel::<Vec<Entry>>(replicas)).await?;
            Ok([primary].into_iter().chain(replicas))
        });
        let mut answers: FuturesUnordered<_> = asked.collect();
        let mut all: Vec<Told> = Vec::new();
        let mut wanted = self.needed();
        while wanted > 0 {
            match answers.next().await {
                Some(Ok(entries)) => {
                    wanted -= 1;
                    for told in entries.filter_map(|entry| Told::read(&entry)) {
                        if all.iter().all(|known| known.place != told.place) {
                            all.push(told);
                        }
                    }
                }
                Some(Err(error)) if answers.len() < wanted => return Err(error),
                Some(Err(_)) => {}
                None => break,
            }
        }
        Ok(all)
    }

    fn ask_for(&self, what: &'static str) -> Cmd {
        Cmd::internal(what).arg(&*self.name)
    }

    /// More than half of all.
    fn needed(&self) -> usize {
        self.sentinels.len() / 2 + 1
    }
}

impl Redis {
    async fn ask_sentinel<T: FromValue>(&self, ask: &Cmd) -> Result<T, Error> {
        let request = Request::Cmd(ask);
        let send = |deadline| self.attempt(Class::Read, &request, deadline);
        self.repeat(Class::Read, "SENTINEL", send).await?.one().and_then(T::from_value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_asked_later_is_believed_however_late_the_others_answered() {
        let place = |port| Some(("::1".to_owned(), port));
        let template = Endpoint::Tcp {
            host: "::1".into(),
            port: 26_379,
            #[cfg(feature = "tls")]
            tls: None,
        };
        let asked = Asked {
            sentinels: Vec::new(),
            name: "shop".into(),
            primary: watch::Sender::new(None),
            asks: AtomicU64::new(0),
            elected: AtomicU64::new(0),
            template,
        };
        let primary = || asked.primary.borrow().as_deref().map(str::to_owned);
        for (number, port, expected) in
            [(2, 7_002, "::1:7002"), (1, 7_001, "::1:7002"), (3, 7_001, "::1:7001")]
        {
            asked.elect(number, place(port)).unwrap();
            assert_eq!(primary().as_deref(), Some(expected));
        }
    }
}
