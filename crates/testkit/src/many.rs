use tokio::task::JoinSet;

use crate::{Builder, Error, Result, Server};

/// Starts many at once, and returns them in the same order.
pub(crate) async fn start_many(builders: Vec<Builder>) -> Result<Vec<Server>> {
    let mut starts = JoinSet::new();
    let mut servers = Vec::with_capacity(builders.len());
    for (n, builder) in builders.into_iter().enumerate() {
        starts.spawn(async move { Ok((n, builder.start().await?)) });
    }
    while let Some(started) = starts.join_next().await {
        servers.push(started.map_err(|error| Error::io("start a server")(error.into()))??);
    }
    servers.sort_unstable_by_key(|(n, _)| *n);
    Ok(servers.into_iter().map(|(_, server)| server).collect())
}
