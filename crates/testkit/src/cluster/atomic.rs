//! Slots that move as a whole, by the servers themselves.

use super::{Cluster, Member};
use crate::patience::Patience;
use crate::{Conn, Error, Flavor, Reply, Result, Server};

impl Cluster {
    /// Moves slots with their keys in one go, as newer servers do by themselves, and waits until every living node sees
    /// it. Clients meet no ASK: each slot is here, and then there.
    ///
    /// Valkey 9.0 and later (`CLUSTER MIGRATESLOTS`), Redis 8.4 and later (`CLUSTER MIGRATION IMPORT`).
    ///
    /// # Errors
    /// [`Error::Unsupported`] by older servers, [`Error::Config`] as [`Cluster::open_slots`], [`Error::Refused`] if the
    /// servers gave up, [`Error::NotReached`].
    pub async fn migrate_atomically(
        &self,
        slots: impl IntoIterator<Item = u16>,
        from: &Server,
        to: &Server,
    ) -> Result<()> {
        let version = from.version();
        let able = match version.flavor {
            Flavor::Valkey => version.at_least(9, 0),
            Flavor::Redis => version.at_least(8, 4),
        };
        if !able {
            let what = "the atomic migration of slots";
            return Err(Error::Unsupported { what, version: version.clone() });
        }
        let slots: Vec<u16> = slots.into_iter().collect();
        let (from, to) = self.parties(&slots, from, to).await?;
        let ranges = ranges(&slots);
        match from.server.version().flavor {
            Flavor::Valkey => self.export(&ranges, &from, &to).await?,
            Flavor::Redis => self.import(&ranges, &to).await?,
        }
        let what = format!("{} as the primary of the slots", to.server.port());
        self.agreed(&slots, Some(&to), &what).await.map(drop)
    }

    /// As Valkey does it: the source is asked, and has a list of its jobs.
    async fn export(&self, ranges: &[String], from: &Member, to: &Member) -> Result<()> {
        let mut conn = from.server.conn().await?;
        let list = ["CLUSTER", "GETSLOTMIGRATIONS"];
        let before = jobs(&conn.demand(&list).await?, "name");
        let mut command = vec!["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE"];
        command.extend(ranges.iter().map(String::as_str));
        command.extend(["NODE", &to.id]);
        conn.demand(&command).await?;
        let new = |job: &Job| !before.iter().any(|known| known.name == job.name);
        self.finished(&mut conn, &list, "name", new).await
    }

    /// As Redis does it: the target is asked, and names the task.
    async fn import(&self, ranges: &[String], to: &Member) -> Result<()> {
        let mut conn = to.server.conn().await?;
        let mut command = vec!["CLUSTER", "MIGRATION", "IMPORT"];
        command.extend(ranges.iter().map(String::as_str));
        let task = conn.demand(&command).await?;
        let task = task.text().unwrap_or_default().to_owned();
        let status = ["CLUSTER", "MIGRATION", "STATUS", "ID", &task];
        self.finished(&mut conn, &status, "id", |job| job.name == task).await
    }

    /// Waits until the job has ended well.
    async fn finished(
        &self,
        conn: &mut Conn,
        list: &[&str],
        name: &str,
        ours: impl Fn(&Job) -> bool,
    ) -> Result<()> {
        let patience = Patience::new(self.patience);
        loop {
            let found = jobs(&conn.demand(list).await?, name);
            let seen = match found.into_iter().find(|job| ours(job)) {
                Some(job) => match job.state.as_str() {
                    "success" | "completed" => return Ok(()),
                    "failed" | "cancelled" | "canceled" => return Err(Error::Refused(job.text)),
                    _ => job.text,
                },
                None => "no such job".to_owned(),
            };
            patience.wait("the end of the migration", seen).await?;
        }
    }
}

#[derive(Debug)]
struct Job {
    name: String,
    state: String,
    /// All that the server says of it.
    text: String,
}

/// Reads a list of maps, which RESP2 has as flat arrays.
fn jobs(list: &Reply, name: &str) -> Vec<Job> {
    let jobs = list.items().unwrap_or_default().iter().filter_map(Reply::items);
    jobs.map(|fields| {
        let fields: Vec<(&str, String)> = fields
            .chunks(2)
            .filter_map(|pair| match pair {
                [key, value] => Some((key.text()?, value.text().unwrap_or_default().to_owned())),
                _ => None,
            })
            .collect();
        let field = |wanted: &str| {
            let found = fields.iter().find(|(key, _)| *key == wanted);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let text: Vec<_> = fields.iter().map(|(key, value)| format!("{key} {value}")).collect();
        Job { name: field(name), state: field("state"), text: text.join(", ") }
    })
    .collect()
}

/// The first and last of each run of slots.
fn ranges(slots: &[u16]) -> Vec<String> {
    let mut slots = slots.to_vec();
    slots.sort_unstable();
    slots.dedup();
    let runs = slots.chunk_by(|a, b| a + 1 == *b);
    runs.filter_map(|run| Some([run.first()?.to_string(), run.last()?.to_string()]))
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_become_ranges() {
        assert_eq!(ranges(&[7, 1, 2, 3, 9, 8, 2, 16_383]), ["1", "3", "7", "9", "16383", "16383"]);
    }
}
