//! What conditions can ask of an event or message.

use halley_event::{EventView, ParsedEvent, attribute::property_of};
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

/// A stored record, see [`EventView`].
impl Facts for EventView<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        EventView::attribute(self, name)
    }

    fn property(&self, name: &str) -> Option<&str> {
        EventView::property(self, name)
    }

    fn tag(&self) -> Option<&str> {
        EventView::tag(self)
    }
}

/// An event at ingress, before it is stored: it has no tag.
impl Facts for ParsedEvent {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        property_of(&self.properties, name).map(Cow::Borrowed)
    }

    fn property(&self, name: &str) -> Option<&str> {
        property_of(&self.properties, name).or_else(|| halley_model::property::get(&self.properties, name))
    }

    fn tag(&self) -> Option<&str> {
        None
    }
}
