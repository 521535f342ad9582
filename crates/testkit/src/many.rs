use tokio::task::JoinSet;

use crate::{Builder, Error, Result, Server};

/// Starts many alike at once.
pub(crate) async fn start_many(builder: &Builder, count: usize) -> Result<Vec<Server>> {
    let mut starts = JoinSet::new();
    for _ in 0..count {
        starts.spawn(builder.clone().start());
    }
    let mut servers = Vec::with_capacity(count);
    while let Some(started) = starts.join_next().await {
        servers.push(started.map_err(|error| Error::io("start a server")(error.into()))??);
    }
    Ok(servers)
}
