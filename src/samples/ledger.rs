//! The accounts of samples, of one sink since the agent's start.
//!
//! Invariant: `taken = delivered + dropped + pending`, at every look. Every term is counted where it happens.

/// Why a sample was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// The ring was full, and it was the oldest.
    RingFull,
    /// It waited for longer than `samples_age_max_ms`.
    TooOld,
    /// The sink will never take it.
    Rejected,
    /// The sink's format cannot say it: a name or label that is not allowed, a series that is there twice, a number
    /// that JSON does not know.
    Unfit,
    /// The wall clock stepped back: the sink has newer ones of its series.
    OutOfOrder,
    /// The sink's thread was so late that newer snapshots took its place before it was encoded.
    Overrun,
    /// The agent ended before the sink had it.
    Stopped,
}

impl Drop {
    /// All of them, in the order of [`Accounts::dropped`].
    pub const ALL: [Drop; 7] = [
        Drop::RingFull,
        Drop::TooOld,
        Drop::Rejected,
        Drop::Unfit,
        Drop::OutOfOrder,
        Drop::Overrun,
        Drop::Stopped,
    ];

    /// The value of the `reason` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Drop::RingFull => "ring_full",
            Drop::TooOld => "too_old",
            Drop::Rejected => "rejected",
            Drop::Unfit => "unfit",
            Drop::OutOfOrder => "out_of_order",
            Drop::Overrun => "overrun",
            Drop::Stopped => "stopped",
        }
    }
}

/// The accounts, in samples; the end marks of series that vanished are samples too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Offered to the sink.
    pub taken: u64,
    /// The sink has it.
    pub delivered: u64,
    /// Given up.
    pub dropped: [u64; Drop::ALL.len()],
    /// Neither yet.
    pub pending: u64,
}

impl Accounts {
    /// More were offered.
    pub fn take(&mut self, samples: u64) {
        self.taken += samples;
        self.pending += samples;
    }

    /// The sink has them.
    pub fn deliver(&mut self, samples: u64) {
        self.delivered += samples;
        self.settle(samples);
    }

    /// They were given up.
    pub fn drop_for(&mut self, why: Drop, samples: u64) {
        self.dropped[why as usize] += samples;
        self.settle(samples);
    }

    fn settle(&mut self, samples: u64) {
        debug_assert!(self.pending >= samples, "{samples} of {}", self.pending);
        self.pending = self.pending.saturating_sub(samples);
    }

    /// Whether the invariant holds.
    pub fn balances(&self) -> bool {
        self.taken == self.delivered + self.dropped.iter().sum::<u64>() + self.pending
    }
}
