//! Replies to requests 200050 to 200055.

use crate::{Ext, HeaderError, encode::ExtField};
use std::borrow::Cow;

/// What was popped (`PopMessageResponseHeader`); all zeros where nothing was. The body is records one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PopMessageResponse<'a> {
    /// When, milliseconds.
    pub pop_time: i64,
    /// For how long they are hidden from others, milliseconds.
    pub invisible_time: i64,
    /// Part of the messages' handles.
    pub revive_queue_id: i32,
    /// How many messages are left, about.
    pub rest_num: i64,
    /// See [`crate::pop::OffsetInfo`].
    pub start_offset_info: Option<Cow<'a, str>>,
    /// See [`crate::pop::OffsetInfo`].
    pub msg_offset_info: Option<Cow<'a, str>>,
    /// See [`crate::pop::OffsetInfo`].
    pub order_count_info: Option<Cow<'a, str>>,
}

impl<'a> PopMessageResponse<'a> {
    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 7] {
        [
            ("popTime", self.pop_time.into()),
            ("invisibleTime", self.invisible_time.into()),
            ("reviveQid", self.revive_queue_id.into()),
            ("restNum", self.rest_num.into()),
            ("startOffsetInfo", self.start_offset_info.as_deref().into()),
            ("msgOffsetInfo", self.msg_offset_info.as_deref().into()),
            ("orderCountInfo", self.order_count_info.as_deref().into()),
        ]
    }

    /// Reads such a reply.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [pop_time, invisible, revive, rest, start, messages, counts] = ext.pick([
            "popTime",
            "invisibleTime",
            "reviveQid",
            "restNum",
            "startOffsetInfo",
            "msgOffsetInfo",
            "orderCountInfo",
        ]);
        Ok(Self {
            pop_time: pop_time.i64()?,
            invisible_time: invisible.i64()?,
            revive_queue_id: revive.i32()?,
            rest_num: rest.i64()?,
            start_offset_info: start.text_opt(),
            msg_offset_info: messages.text_opt(),
            order_count_info: counts.text_opt(),
        })
    }
}

/// What was popped of lite topics (`PopLiteMessageResponseHeader`). The body is records one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PopLiteMessageResponse<'a> {
    /// When, milliseconds.
    pub pop_time: i64,
    /// For how long they are hidden from others, milliseconds.
    pub invisible_time: i64,
    /// Part of the messages' handles.
    pub revive_queue_id: i32,
    /// How often each was given before.
    pub order_count_info: Option<Cow<'a, str>>,
}

impl<'a> PopLiteMessageResponse<'a> {
    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 4] {
        [
            ("popTime", self.pop_time.into()),
            ("invisibleTime", self.invisible_time.into()),
            ("reviveQid", self.revive_queue_id.into()),
            ("orderCountInfo", self.order_count_info.as_deref().into()),
        ]
    }

    /// Reads such a reply.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [pop_time, invisible, revive, counts] =
            ext.pick(["popTime", "invisibleTime", "reviveQid", "orderCountInfo"]);
        Ok(Self {
            pop_time: pop_time.i64()?,
            invisible_time: invisible.i64()?,
            revive_queue_id: revive.i32()?,
            order_count_info: counts.text_opt(),
        })
    }
}

/// The message's new handle (`ChangeInvisibleTimeResponseHeader`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChangeInvisibleTimeResponse {
    /// Its pop time from now on.
    pub pop_time: i64,
    /// For how long it is hidden from then on.
    pub invisible_time: i64,
    /// Part of the handle.
    pub revive_queue_id: i32,
}

impl ChangeInvisibleTimeResponse {
    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 3] {
        [
            ("popTime", self.pop_time.into()),
            ("invisibleTime", self.invisible_time.into()),
            ("reviveQid", self.revive_queue_id.into()),
        ]
    }

    /// Reads such a reply.
    pub fn decode(ext: &Ext<'_>) -> Result<Self, HeaderError> {
        let [pop_time, invisible, revive] = ext.pick(["popTime", "invisibleTime", "reviveQid"]);
        Ok(Self {
            pop_time: pop_time.i64()?,
            invisible_time: invisible.i64()?,
            revive_queue_id: revive.i32()?,
        })
    }
}

/// Whether there is something to pop (`NotificationResponseHeader`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotificationResponse {
    /// There is.
    pub has_msg: bool,
    /// Too many wait already.
    pub polling_full: bool,
}

impl NotificationResponse {
    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 2] {
        [("hasMsg", self.has_msg.into()), ("pollingFull", self.polling_full.into())]
    }

    /// Reads such a reply.
    pub fn decode(ext: &Ext<'_>) -> Result<Self, HeaderError> {
        let [has_msg, full] = ext.pick(["hasMsg", "pollingFull"]);
        Ok(Self {
            has_msg: has_msg.bool_opt().unwrap_or(false),
            polling_full: full.bool_opt().unwrap_or(false),
        })
    }
}

/// How many pops wait (`PollingInfoResponseHeader`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PollingInfoResponse {
    /// So many.
    pub polling_num: i32,
}

impl PollingInfoResponse {
    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 1] {
        [("pollingNum", self.polling_num.into())]
    }

    /// Reads such a reply.
    pub fn decode(ext: &Ext<'_>) -> Result<Self, HeaderError> {
        let [number] = ext.pick(["pollingNum"]);
        Ok(Self { polling_num: number.i32()? })
    }
}
