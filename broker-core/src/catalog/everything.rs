//! The catalog as a whole, put into the log again before old records of it are removed. Each record is staged under the lock of
//! what it speaks of, so that the log has it in its place among changes.

use super::Catalog;
use crate::retention::Written;
use halley_machine::state::StateRecord;
use halley_model::{GroupName, TopicName};
use halley_store::StageError;

impl Catalog {
    /// The names of all topics.
    pub(crate) fn topic_names(&self) -> Vec<TopicName> {
        self.topics.read().all().iter().map(|config| config.name.clone()).collect()
    }

    /// The names of all groups.
    pub(crate) fn group_names(&self) -> Vec<GroupName> {
        self.groups.read().all().map(|config| config.name.clone()).collect()
    }

    /// Writes these topics as they are now.
    pub(crate) fn log_topics(&self, names: &[TopicName]) -> Result<Written, StageError> {
        let topics = self.topics.read();
        let there = names.iter().filter_map(|name| topics.get(name));
        let record = StateRecord {
            topics: there.map(|config| (**config).clone()).collect(),
            ..StateRecord::default()
        };
        self.writer.write_counted(&record)
    }

    /// Writes these groups as they are now.
    pub(crate) fn log_groups(&self, names: &[GroupName]) -> Result<Written, StageError> {
        let groups = self.groups.read();
        let there = names.iter().filter_map(|name| groups.get(name));
        let record = StateRecord {
            groups: there.map(|config| (**config).clone()).collect(),
            ..StateRecord::default()
        };
        self.writer.write_counted(&record)
    }

    /// Writes everything else: mappings, where queues begin and up to where they are compacted, what groups may not do.
    pub(crate) fn log_rest(&self) -> Result<Written, StageError> {
        let mut written = Written::default();
        // Whoever deletes a topic or a group has the table.
        let _topics = self.topics.read();
        let _groups = self.groups.read();
        let all = StateRecord::default().with_compacted(self.compactions.ends());
        written.add(
            self.writer.write_pieces(all.compacted, |compacted| StateRecord {
                compacted,
                ..StateRecord::default()
            })?,
        );
        written.add(
            self.writer.write_pieces(self.mappings(), |mappings| StateRecord {
                mappings,
                ..StateRecord::default()
            })?,
        );
        let all = StateRecord::default().with_begins(&self.begins.lock());
        written.add(
            self.writer
                .write_pieces(all.begins, |begins| StateRecord { begins, ..StateRecord::default() })?,
        );
        let forbidden = self.forbidden.read();
        let all = StateRecord::default().with_settings(Default::default(), &forbidden);
        written.add(
            self.writer.write_pieces(all.forbidden, |forbidden| StateRecord {
                forbidden,
                ..StateRecord::default()
            })?,
        );
        Ok(written)
    }
}
