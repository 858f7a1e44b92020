//! What a sink is: delivery attempts and retry verdicts.
