//! CloudEvents: HTTP and JSON forms to stored records and back.
