use super::*;
use crate::{
    disk::SimDisk,
    index::sidecar::{self, Subject},
};

const TOPICS: [&str; 2] = ["A", "B"];
const SEGMENT_BYTES: u64 = 1000;

type Known = (LogOffset, u32, i32);

/// An index with topics, and what it should know: per (topic, queue) log offset, size and tag of each record.
struct Scene {
    index: Arc<Index>,
    writer: IndexWriter,
    known: HashMap<(u32, QueueId), Vec<Known>, BuildFixed>,
    end: LogOffset,
}

impl Scene {
    fn new() -> Self {
        let (index, mut writer) = Index::new();
        TOPICS.into_iter().for_each(|name| writer.add_topic(name.into()));
        Self { index, writer, known: HashMap::default(), end: 0 }
    }

    /// Publishes a record for each (topic, queue) in the segment; who arrived.
    fn publish(&mut self, segment: u64, of: &[(u32, QueueId)]) -> Vec<(String, QueueId)> {
        self.end = self.end.max(segment * SEGMENT_BYTES);
        let entries: Vec<_> = of.iter().map(|(topic, queue)| self.stage(*topic, *queue)).collect();
        let mut arrived = Vec::new();
        self.writer.publish(&entries, segment * SEGMENT_BYTES, |topic, queue| {
            arrived.push((topic.to_string(), queue));
        });
        arrived
    }

    fn stage(&mut self, topic: u32, queue: QueueId) -> StagedEntry {
        let of_queue = self.known.entry((topic, queue)).or_default();
        let (queue_offset, log_offset) = (of_queue.len() as u64, self.end);
        let (size, tag) = (100 + queue, -(queue_offset as i32));
        of_queue.push((log_offset, size, tag));
        self.end += 10;
        StagedEntry { topic, queue, queue_offset, log_offset, size, tag }
    }

    /// Ends a segment and moves its entries to the sidecar of this number.
    fn seal(&mut self, disk: &SimDisk, number: u32, after: impl FnOnce(&mut Self)) {
        let queues = self.writer.end_segment();
        after(self);
        let base = u64::from(number) * SEGMENT_BYTES;
        let subject = Subject { base, length: SEGMENT_BYTES, chain: 1, epoch: 1, stored: 1 };
        sidecar::write(disk, &subject, &queues).unwrap();
        let mut place = 0;
        for (topic, queue) in &queues {
            place += topic.retire(*queue, base + SEGMENT_BYTES, number, place);
        }
    }

    /// Reads every queue from every offset on, through the sidecars where it must.
    fn check(&self, disk: &SimDisk) {
        for ((topic, queue), expected) in &self.known {
            let topic = TOPICS[*topic as usize];
            assert_eq!(self.index.bounds(topic, *queue), Some((0, expected.len() as u64)));
            for from in 0..expected.len() {
                let mut found = Vec::new();
                match self.index.slice(topic, *queue, from as u64, 3, &mut found) {
                    Slice::Nothing | Slice::Gone => panic!("{topic}/{queue} has nothing at {from}"),
                    Slice::Added => {}
                    Slice::InRun(run) => {
                        let base = u64::from(run.segment) * SEGMENT_BYTES;
                        let file = crate::disk::Disk::open(disk, &sidecar::path_of(base)).unwrap();
                        let (sidecar, _, _) = sidecar::load(file).unwrap().unwrap();
                        sidecar::read(&sidecar, base, &run, from as u64, 3, &mut found).unwrap().unwrap();
                    }
                }
                assert!(!found.is_empty());
                for (at, entry) in found.iter().enumerate() {
                    let (log_offset, size, tag) = expected[from + at];
                    let queue_offset = (from + at) as u64;
                    assert_eq!(*entry, IndexEntry { queue_offset, log_offset, size, tag });
                }
            }
        }
    }
}

#[test]
fn queues_are_small() {
    assert_eq!(size_of::<Queue>(), 40, "there may be a million");
}

#[test]
fn records_are_found_in_memory_and_in_runs() {
    let disk = SimDisk::new(1);
    let mut scene = Scene::new();
    scene.publish(0, &[(0, 0), (0, 1), (0, 0), (1, 0), (0, 0)]);
    scene.check(&disk);
    // Records of the next segment are there before the sidecar is.
    scene.seal(&disk, 0, |scene| _ = scene.publish(1, &[(0, 0), (1, 5), (0, 0)]));
    scene.check(&disk);
    scene.seal(&disk, 1, |_| {});
    scene.check(&disk);
    let many: Vec<_> = (0..3000).map(|number| (number % 2, 2)).collect();
    for segment in 2..5 {
        scene.publish(segment, &many[..segment as usize * 9]);
        scene.publish(segment, &[(0, 1)]);
        scene.seal(&disk, segment as u32, |_| {});
        scene.check(&disk);
    }
    scene.publish(5, &many);
    scene.check(&disk);
}

#[test]
fn a_queue_arrives_once_per_batch() {
    let arrived = |topic: u32, queue| (TOPICS[topic as usize].to_owned(), queue);
    let mut scene = Scene::new();
    scene.writer.begin_batch(scene.end);
    assert_eq!(
        scene.publish(0, &[(0, 0), (0, 1), (0, 0), (1, 0)]),
        [arrived(0, 0), arrived(0, 1), arrived(1, 0)]
    );
    scene.writer.begin_batch(scene.end);
    assert_eq!(scene.publish(0, &[(0, 1), (0, 1)]), [arrived(0, 1)]);
    let sealed = scene.writer.end_segment();
    // The rest of the batch lies in the next segment.
    assert_eq!(scene.publish(1, &[(0, 1), (0, 0)]), [arrived(0, 0)]);
    let names = |queues: Vec<(Arc<Topic>, QueueId)>| {
        queues.into_iter().map(|(topic, queue)| (topic.name.to_string(), queue)).collect::<Vec<_>>()
    };
    assert_eq!(names(sealed), [arrived(0, 0), arrived(0, 1), arrived(1, 0)]);
    assert_eq!(names(scene.writer.end_segment()), [arrived(0, 0), arrived(0, 1)]);
    assert_eq!(names(scene.writer.end_segment()), []);
}

#[test]
fn a_forgotten_queue_is_in_its_segment_once() {
    let disk = SimDisk::new(1);
    let mut scene = Scene::new();
    scene.publish(0, &[(0, 0), (0, 0), (1, 3)]);
    scene.writer.forget_queue(0, 0);
    scene.known.remove(&(0, 0));
    scene.publish(0, &[(0, 0)]);
    scene.seal(&disk, 0, |_| {});
    scene.check(&disk);
}

#[test]
fn what_is_hidden_is_not_within_the_bounds() {
    let mut scene = Scene::new();
    assert_eq!(scene.index.bounds("A", 2), None);
    scene.index.begin_at("A", 2, 7);
    scene.index.begin_at("A", 2, 5);
    assert_eq!((scene.index.bounds("A", 2), scene.index.bounds("A", 1)), (Some((7, 7)), None));
    scene.publish(0, &[(0, 0), (0, 0), (0, 0)]);
    scene.index.begin_at("A", 0, 2);
    assert_eq!((scene.index.bounds("A", 0), scene.index.queues("A")), (Some((2, 3)), 3));
}
