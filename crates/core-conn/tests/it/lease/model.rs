//! What the three scripts do, in Rust, without a server: the model's server and the real one's judge.

/// What the hash of a lease holds. All zero is no hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Kept {
    /// 0: nobody yet.
    pub(super) owner: u8,
    pub(super) fence: u64,
    pub(super) until: u64,
}

/// What `lease_acquire.lua` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    Granted { fence: u64, left: u64 },
    Busy { fence: u64, left: u64 },
    Spent { fence: u64 },
}

impl Kept {
    /// `lease_acquire.lua`
    pub(super) fn acquire(&mut self, now: u64, token: u8, ttl: u64) -> Asked {
        let left = self.until.saturating_sub(now);
        if self.owner == token {
            return match left {
                0 => Asked::Spent { fence: self.fence },
                _ => Asked::Granted { fence: self.fence, left },
            };
        }
        if left > 0 {
            return Asked::Busy { fence: self.fence, left };
        }
        *self = Self { owner: token, fence: (self.fence + 1).max(now), until: now + ttl };
        Asked::Granted { fence: self.fence, left: ttl }
    }

    /// `lease_renew.lua`: what is left, or the number that was given last.
    pub(super) fn renew(
        &mut self,
        now: u64,
        (token, fence): (u8, u64),
        ttl: u64,
    ) -> Result<u64, u64> {
        if self.owner != token || self.fence != fence || self.until == 0 {
            return Err(self.fence);
        }
        self.until = self.until.max(now + ttl);
        Ok(self.until - now)
    }

    /// `lease_release.lua`
    pub(super) fn release(&mut self, token: u8) -> bool {
        if self.owner != token {
            return false;
        }
        self.until = 0;
        true
    }
}
