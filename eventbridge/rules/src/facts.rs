//! What conditions can ask of an event or message.

use std::borrow::Cow;

/// An event, or a message seen as one.
pub trait Facts {
    /// A CloudEvents attribute by its name, `None` where it is absent. `data` is not an attribute.
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>>;

    /// A name of SQL92: an event's attribute by its CloudEvents name, else a property of the message.
    fn property(&self, name: &str) -> Option<&str>;

    /// The message's tag.
    fn tag(&self) -> Option<&str>;
}
