//! The tokio shell of the broker and name server: listeners, dispatch, log writer.
