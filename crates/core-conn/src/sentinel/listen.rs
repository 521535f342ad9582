//! Hearing of another primary before a call does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::ask::Asked;
use crate::builder::DAY;
use crate::{Delivery, Hub, Redis, Subscription, Topic};

/// How long a sentinel whose hub has ended is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens to all sentinels: each tells of a failover when it has heard of it itself.
pub(super) async fn run(asked: Arc<Asked>) {
    join_all(asked.sentinels.iter().map(|sentinel| listen(&asked, sentinel))).await;
}

async fn listen(asked: &Asked, sentinel: &Redis) -> Infallible {
    loop {
        let patient = sentinel.with_deadline(DAY);
        // One of our own: it ends with this task's runtime, and another runtime's task makes another.
        let subscribed = async {
            let hub = Hub::builder(&patient).build()?;
            hub.subscribe(Topic::channel("+switch-master")).await
        };
        match subscribed.await {
            Ok(subscription) => hear(asked, subscription).await,
            Err(error) => {
                tracing::warn!(primary = %asked.name, %error, "a sentinel can't be listened to");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(asked: &Asked, mut subscription: Subscription) {
    // It may have happened before.
    ask(asked).await;
    while let Some(delivery) = subscription.next().await {
        let is_news = match delivery {
            Delivery::Message(message) => is_about(&asked.name, message.payload()),
            Delivery::Away(_) | Delivery::Refused(_) => false,
            Delivery::Gap(_) | Delivery::Missed(_) => true,
        };
        if is_news {
            ask(asked).await;
        }
    }
}

/// Whoever listens for another primary is told by the answer. Without one, the next sentinel's news or the next
/// connection asks again.
async fn ask(asked: &Asked) {
    if let Err(error) = asked.primary().await {
        tracing::debug!(primary = %asked.name, %error, "the sentinels were asked in vain");
    }
}

/// `<name> <old ip> <old port> <new ip> <new port>`
fn is_about(name: &str, message: &[u8]) -> bool {
    message.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_about_another_primary_is_none_of_ours() {
        assert!(is_about("shop", b"shop 10.0.0.1 6379 10.0.0.2 6379"));
        assert!(!is_about("shop", b"shop2 10.0.0.1 6379 10.0.0.2 6379"));
        assert!(!is_about("shop", b"shop"));
    }
}
