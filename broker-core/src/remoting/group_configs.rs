//! Settings of consumer groups: requests 200, 201, 207, 225, 352 and 353.

use super::{BrokerSession, topics};
use crate::{
    acks::Acks,
    answers::{Refusal, not_stored, succeed, succeed_when_acked},
    catalog::{Catalog, GROUP_BYTES_MAX},
    progress::Progress,
    stats::Stats,
};
use halley_model::{GroupName, LogOffset, NameError, TopicName};
use halley_wire::{
    Frame, ResponseCode,
    body::{
        self, figures,
        group_config::{AllGroupConfigs, GroupConfigBody},
    },
    request::admin::{DeleteGroup, GetAllGroupConfig, GroupForbidden, GroupOnly},
};

/// What requests about the settings of groups use.
pub(super) struct GroupConfigRequests<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) progress: &'a Progress,
    pub(super) stats: &'a Stats,
    pub(super) acks: &'a Acks,
}

impl GroupConfigRequests<'_> {
    /// 200: the reply waits until the log has the change.
    pub(super) fn update(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let config = GroupConfigBody::decode(frame.body)?;
        let end = self.put(&config)?;
        succeed_when_acked(frame, session, end, self.acks.acked(), b"");
        Ok(())
    }

    /// 225: all groups' names are checked first.
    pub(super) fn update_list(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let wanted = GroupConfigBody::decode_list(frame.body)?;
        for group in &wanted {
            group_name(&group.group_name)?;
        }
        let mut end = 0;
        for group in &wanted {
            end = self.put(group)?.max(end);
        }
        succeed_when_acked(frame, session, end, self.acks.acked(), b"");
        Ok(())
    }

    /// 201.
    pub(super) fn all(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = GetAllGroupConfig::decode(&frame.ext)?;
        let version = self.catalog.group_changes.version();
        let groups = self.catalog.with_tables(|_, groups| groups.all().cloned().collect::<Vec<_>>());
        let paged = header.group_seq.or(header.max_group_num).is_some() || header.data_version.is_some();
        let page = if paged {
            let same = header.data_version.as_deref().and_then(body::read_version) == Some(version);
            topics::page(groups.len(), header.group_seq, header.max_group_num, same)
        } else {
            0..groups.len()
        };
        let shown = &groups[page];
        let named = |group: &std::sync::Arc<_>| {
            let body = GroupConfigBody::from(&**group);
            (body.group_name.clone(), body)
        };
        let is_shown = |name: &GroupName| shown.iter().any(|group| group.name == *name);
        let forbidden = self.catalog.forbidden().into_iter().filter(|(group, _)| is_shown(group));
        let body = AllGroupConfigs {
            data_version: version,
            forbidden_table: forbidden.map(|(group, topics)| (group.to_string(), topics)).collect(),
            subscription_group_table: shown.iter().map(named).collect(),
        };
        succeed(frame, session, &[("totalGroupNum", (groups.len() as i64).into())], &body.encode());
        Ok(())
    }

    /// 352: a group that nobody configured is created.
    pub(super) fn config(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let name = GroupOnly::decode(&frame.ext)?.group;
        let group = match GroupName::new(&name) {
            Ok(group) => self.catalog.ensure_group(&group).map_err(not_stored)?,
            Err(_) => None,
        };
        let Some(group) = group else {
            return Err(Refusal::new(ResponseCode::SubscriptionGroupNotExist, "No group in this broker"));
        };
        succeed(frame, session, &[], &GroupConfigBody::from(&*group).encode());
        Ok(())
    }

    /// 207. A group that there is not is gone already.
    pub(super) fn delete(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = DeleteGroup::decode(&frame.ext)?;
        let group = GroupName::new(&header.group_name)?;
        let kept = self.progress.with_offsets(|offsets| {
            let of_group = offsets.of_group(&group).filter(|_| !header.clean_offset);
            of_group.map(|(key, committed)| (key.clone(), committed.clone())).collect::<Vec<_>>()
        });
        let gone = |key: &halley_machine::offsets::Key| header.clean_offset && key.0 == group;
        let end = self
            .progress
            .forget(gone, || {
                self.catalog.delete_group(&group, kept.iter().map(|(key, committed)| (key, committed)))
            })
            .map_err(not_stored)?;
        self.stats.forget_group(&group);
        succeed_when_acked(frame, session, end, self.acks.acked(), b"");
        Ok(())
    }

    /// 353.
    pub(super) fn forbidden(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = GroupForbidden::decode(&frame.ext)?;
        let (group, topic) = (GroupName::new(&header.group)?, TopicName::known(&header.topic)?);
        let end = match header.readable {
            Some(readable) => self.catalog.forbid_reading(&group, &topic, !readable).map_err(not_stored)?,
            None => 0,
        };
        let readable = !self.catalog.may_not_read(&group, &topic);
        let body = figures::GroupForbidden { group: &group, readable, topic: &topic }.encode();
        succeed_when_acked(frame, session, end, self.acks.acked(), &body);
        Ok(())
    }

    fn put(&self, config: &GroupConfigBody) -> Result<LogOffset, Refusal> {
        group_name(&config.group_name)?;
        self.catalog.update_group(config.settings()?, &config.attributes).map_err(topics::refusal_of)
    }
}

/// RocketMQ's words for what is wrong with a group's name (`TopicValidator.validateGroup`, 5.5).
fn group_name(group: &str) -> Result<GroupName, Refusal> {
    let invalid = |remark| Err(Refusal::new(ResponseCode::InvalidParameter, remark));
    match GroupName::new(group) {
        Ok(name) if name.len() <= GROUP_BYTES_MAX => Ok(name),
        Ok(_) | Err(NameError::TooLong { .. }) => invalid(format!(
            "The specified group: {group}, is longer than group max length: {GROUP_BYTES_MAX}"
        )),
        Err(NameError::Empty { .. }) => invalid("The specified group is blank.".to_owned()),
        Err(NameError::IllegalCharacter { .. }) => invalid(format!(
            "The specified group: {group}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
        )),
    }
}
