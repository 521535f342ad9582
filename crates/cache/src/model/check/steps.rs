//! What happens next.

use super::world::{
    LEASE, Lookup, Process, STALE, Said, World, journal, key, opened, sealed, tags, ticks, what,
};
use super::{Bug, Fault};
use crate::journal::{Known, Verdict};
use crate::model::{Bounds, Model};
use crate::scripts::{Bad, Claimed, Due, Fill};
use crate::seal::{Seal, Stamp};
use russet_core_conn::Key;

const BOUNDS: Bounds = Bounds { log: 10_000, tags: 100_000 };

/// For how long a lookup waits for another.
const PATIENCE: u64 = 2 * LEASE;

impl World {
    /// `Cache::near`, and then `claim.lua`.
    pub(super) fn look(&mut self, at: usize) {
        let [local, redis] = self.least(at);
        if let Some(value) = self.processes[at].keeps() {
            self.give(value, local, Fault::Local);
        } else {
            self.processes[at].asks += 1;
            self.claim(at, redis, self.now, &Bad::Nothing);
        }
    }

    fn give(&mut self, value: u8, least: u8, fault: Fault) {
        if value < least {
            self.wrong = Some(fault);
        }
    }

    /// `claim.lua`; a ticket is drawn before.
    fn claim(&mut self, at: usize, least: u8, since: u64, bad: &Bad) {
        let (token, now) = (self.token(at), self.time());
        let claimed = self.redis.claim(now, &key(), &token, ticks(LEASE), Due::default(), bad);
        let process = &mut self.processes[at];
        process.dropped = false;
        process.lookup = match claimed {
            Claimed::Fresh { payload, .. } => Lookup::Found { payload, least },
            Claimed::Waits { .. } => Lookup::Waits { since, least },
            _ => Lookup::Leads,
        };
    }

    /// Who waits is woken, or looks by itself (`Cache::take`); after its patience it loads, and does not fill.
    pub(super) fn again(&mut self, at: usize) {
        let Lookup::Waits { since, least } = self.processes[at].lookup else { return };
        if self.now > since + PATIENCE {
            self.processes[at].lookup = Lookup::Idle;
        } else {
            self.claim(at, least, since, &Bad::Nothing);
        }
    }

    /// The reply to a claim, or to a fill (`Cache::finish`).
    pub(super) fn arrive(&mut self, at: usize, bug: Option<Bug>) {
        let lookup = std::mem::replace(&mut self.processes[at].lookup, Lookup::Idle);
        match lookup {
            Lookup::Found { payload, least } => {
                let (seal, value) = opened(&payload);
                if self.judge(at, &seal) {
                    self.give(value, least, Fault::Redis);
                    self.keep(at, value, seal, bug);
                } else {
                    let head = payload.slice(..payload.len() - 2);
                    self.claim(at, least, self.now, &Bad::Invalid(head));
                }
            }
            Lookup::Filled { filled, value, seal } => {
                if filled {
                    self.keep(at, value, seal, bug);
                }
            }
            other => self.processes[at].lookup = other,
        }
    }

    /// `Inner::open`, with `journal_tags.lua` where that is needed.
    fn judge(&mut self, at: usize, seal: &Seal) -> bool {
        let process = &mut self.processes[at];
        let mut verdict = process.known.judge(seal);
        if let Verdict::Unknown(tags) = &verdict {
            if !process.known.learn(tags, &self.redis.journal_tags(&journal(), tags)) {
                process.asked = None;
            }
            verdict = process.known.judge(seal);
        }
        verdict == Verdict::Valid
    }

    fn keep(&mut self, at: usize, value: u8, seal: Seal, bug: Option<Bug>) {
        let process = &mut self.processes[at];
        if !process.dropped || bug == Some(Bug::KeepWhatWasDropped) {
            process.held = Some((value, seal));
        }
    }

    /// What is known is what the value will be sealed with; and then the origin is read.
    pub(super) fn load(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.lookup = Lookup::Loaded { stamp: process.known.stamp(), value: self.origin };
    }

    /// `fill.lua`; a ticket is drawn before.
    pub(super) fn fill(&mut self, at: usize, bug: Option<Bug>) {
        let Lookup::Loaded { stamp, value } = self.processes[at].lookup else { return };
        let stamp = match bug {
            Some(Bug::SealAfterLoad) => self.processes[at].known.stamp(),
            _ => stamp,
        };
        let seal = Seal { stamp: stamp.unwrap_or(Stamp::NEVER), tags: tags().into() };
        let (payload, ttl, zero) = (sealed(&seal, value), ticks(1_000), ticks(0));
        let fill = Fill { payload, seal: None, ttl, grace: zero, timed: false, took: zero };
        let token = (bug != Some(Bug::FillWithoutLease)).then(|| self.token(at));
        let now = self.time();
        let filled = self.redis.fill(now, &key(), token.as_ref(), &fill, &Key::raw("woken"));
        self.redis.told.clear();
        if filled && value < self.removed() {
            self.wrong = Some(Fault::Fill);
        }
        let process = &mut self.processes[at];
        process.dropped = false;
        process.lookup = Lookup::Filled { filled, value, seal };
    }

    /// `journal_read.lua`
    pub(super) fn ask(&mut self, at: usize) {
        let Known { incarnation, version, .. } = self.processes[at].known;
        let (now, new) = (self.time(), self.incarnation());
        let since = self.redis.journal_read(now, &journal(), new, (incarnation, version), 100);
        self.processes[at].question = Some((self.now, since));
    }

    /// `Journal::ask`, from its answer on.
    pub(super) fn answer(&mut self, at: usize, bug: Option<Bug>) {
        let own = self.name(at);
        let process = &mut self.processes[at];
        let Some((sent, since)) = process.question.take() else { return };
        let asked = if bug == Some(Bug::AgeOfAnswer) { self.now } else { sent };
        let all = match since.entries {
            Some(entries) => {
                for entry in entries {
                    if process.known.hear(&entry)
                        && entry.by != own
                        && entry.of[0] == key().to_bytes()
                    {
                        process.forget();
                    }
                }
                process.known.has_heard(&since.state)
            }
            None if bug == Some(Bug::IgnoreHole) && process.known.incarnation != 0 => true,
            None => {
                process.known.begin_anew(&since.state);
                process.forget();
                true
            }
        };
        if all {
            process.asked = process.asked.max(Some(asked));
        }
    }

    /// A message that tells of news: it is asked for (`Journal::follow`).
    pub(super) fn hear(&mut self, at: usize) {
        let version = self.processes[at].mail.take();
        if version.is_some_and(|version| version > self.processes[at].known.version) {
            self.ask(at);
        }
    }

    /// The origin is changed, the key removed (`UNLINK`), and everybody told (`journal_write.lua`).
    pub(super) fn say(&mut self, by: usize) {
        let (now, new, name) = (self.time(), self.incarnation(), self.name(by));
        let writer = &mut self.writers[by];
        if writer.said == Said::Nothing {
            self.origin += 1;
            writer.value = self.origin;
            if !writer.by_tag {
                writer.said = Said::Removed;
                self.redis.unlink(now, &key());
                self.processes[by].forget();
                return;
            }
        }
        writer.said = Said::Told;
        let (what, of) = what(writer.by_tag);
        let told = (&name, what, &[of][..]);
        let written = self.redis.journal_write(now, &journal(), new, BOUNDS, told);
        self.redis.told.clear();
        self.processes[1 - by].mail = Some(written.version);
        writer.written = Some(written);
    }

    /// What was told is known here (`Journal::write`).
    pub(super) fn note(&mut self, by: usize, bug: Option<Bug>) {
        let (writer, process) = (&mut self.writers[by], &mut self.processes[by]);
        let Some(written) = writer.written.take() else { return };
        writer.version = written.version;
        let (what, of) = what(writer.by_tag);
        if bug != Some(Bug::ForgetOwn) && process.known.wrote(&written, what, &[of]).is_none() {
            process.asked = None;
        }
        if !writer.by_tag {
            process.forget();
        }
    }

    /// What needs nobody else; and what makes no difference from here on is made the same.
    pub(super) fn settle(&mut self, bug: Option<Bug>) {
        let now = self.now;
        for (writer, process) in self.writers.iter_mut().zip(&mut self.processes) {
            // What is loaded next must not be sealed with less (`Journal::write`).
            let known = process.known.version >= writer.version || bug == Some(Bug::ForgetOwn);
            let told = writer.said == Said::Told && writer.written.is_none() && !writer.lost;
            if told && (known || !writer.by_tag) {
                let at = writer.acknowledged.unwrap_or(now);
                writer.acknowledged = Some(at.max(now.saturating_sub(STALE + 1)));
            }
            if bug != Some(Bug::IgnoreLostMessage) {
                process.asked = process.asked.filter(|asked| now - asked <= STALE);
            }
            let on_its_way = matches!(process.lookup, Lookup::Found { .. } | Lookup::Filled { .. });
            process.dropped &= on_its_way;
            process.mail = process.mail.filter(|version| *version > process.known.version);
        }
        self.redis.get(self.time(), &key());
    }

    /// Whatever else happens from here on: does who waits have an answer in time, all alone?
    pub(super) fn ends(&self, at: usize, bug: Option<Bug>) -> bool {
        let waits = |world: &Self| matches!(world.processes[at].lookup, Lookup::Waits { .. });
        if !waits(self) {
            return true;
        }
        let mut alone = self.clone();
        for _ in 0..=PATIENCE + 1 {
            if bug != Some(Bug::WaitForMessage) {
                alone.again(at);
            }
            if !waits(&alone) {
                return true;
            }
            alone.now += 1;
        }
        false
    }

    pub(super) fn crash(&mut self, at: usize) {
        self.processes[at] = Process::new(true);
        let writer = &mut self.writers[at];
        if writer.acknowledged.is_none() {
            (writer.said, writer.written, writer.lost) = (Said::Told, None, true);
        }
    }

    pub(super) fn sync(&mut self) {
        let [one, other] = &self.writers;
        self.replica = Some((self.redis.clone(), [one.said, other.said]));
    }

    /// A replica is promoted, a tick later: what it does not have is lost.
    pub(super) fn fail_over(&mut self) {
        let (model, said) = self.replica.take().unwrap_or((Model::default(), [Said::Nothing; 2]));
        for (writer, synced) in self.writers.iter_mut().zip(said) {
            writer.lost |= writer.said > synced;
        }
        self.redis = model;
        self.now += 1;
        self.failed_over = true;
    }
}
