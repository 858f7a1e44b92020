//! Planted bugs: proof that the simulator's checkers can see what they are there for.

/// A bug to plant into a queue. Exists only with the feature `canaries`.
#[cfg_attr(not(feature = "canaries"), expect(unreachable_pub, reason = "exported with the feature only"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// The commit claims that what is in flight is finished.
    CommitPastFlights,
    /// A message is due a little before its time.
    DueTooEarly,
}

/// What is planted: at most one bug, none without the feature.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Planted {
    #[cfg(feature = "canaries")]
    bug: Option<Canary>,
}

impl Planted {
    #[cfg(feature = "canaries")]
    pub(super) fn plant(&mut self, bug: Canary) {
        self.bug = Some(bug);
    }

    #[cfg(feature = "canaries")]
    pub(super) fn is(self, bug: Canary) -> bool {
        self.bug == Some(bug)
    }

    #[cfg(not(feature = "canaries"))]
    pub(super) fn is(self, _: Canary) -> bool {
        false
    }
}
