//! Planted bugs: proof that the simulator's checkers can see what they are there for.

/// A bug to plant into a machine. Exists only with the feature `canaries`.
#[cfg_attr(not(feature = "canaries"), expect(unreachable_pub, reason = "exported with the feature only"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// A dead letter is taken as written without writing it.
    DeadLetterDropped,
    /// The persisted cursor claims that open events are done.
    CursorPastOpen,
    /// A waiting retry lets later events of its key pass.
    RetryForgetsOrder,
}

/// What is planted: at most one bug, none without the feature.
#[derive(Debug, Default)]
pub(crate) struct Planted {
    #[cfg(feature = "canaries")]
    bug: Option<Canary>,
}

impl Planted {
    #[cfg(feature = "canaries")]
    pub(crate) fn plant(&mut self, bug: Canary) {
        self.bug = Some(bug);
    }

    #[cfg(feature = "canaries")]
    pub(crate) fn is(&self, bug: Canary) -> bool {
        self.bug == Some(bug)
    }

    #[cfg(not(feature = "canaries"))]
    pub(crate) fn is(&self, _: Canary) -> bool {
        false
    }
}
