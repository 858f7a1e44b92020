//! Objects in memory, for tests.

use super::{Object, ObjectError, Objects};
use parking_lot::Mutex;
use std::{collections::BTreeMap, io::Read, sync::Arc};

/// Objects in memory, which can be damaged and can stop answering. Clones are the same place.
#[derive(Debug, Clone, Default)]
pub struct MemoryObjects {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    calls: u64,
    /// The call from which on all fail.
    gone_at: Option<u64>,
    /// Bytes that were put.
    put: u64,
}

impl MemoryObjects {
    /// Makes the `calls`-th call from now (1 is the next) fail, and all behind it.
    pub fn go_away_after(&self, calls: u64) {
        let mut state = self.state.lock();
        state.gone_at = Some(state.calls + calls);
    }

    /// Answers again.
    pub fn come_back(&self) {
        self.state.lock().gone_at = None;
    }

    /// Changes one byte; `false` where the object has no such one.
    pub fn damage(&self, name: &str, at: usize) -> bool {
        let mut state = self.state.lock();
        let byte = state.objects.get_mut(name).and_then(|bytes| bytes.get_mut(at));
        byte.map(|byte| *byte ^= 0x10).is_some()
    }

    /// The names of all objects, sorted.
    pub fn names(&self) -> Vec<String> {
        self.state.lock().objects.keys().cloned().collect()
    }

    /// How many bytes were put so far.
    pub fn bytes_put(&self) -> u64 {
        self.state.lock().put
    }
}

impl State {
    fn begin(&mut self, name: &str) -> Result<(), ObjectError> {
        self.calls += 1;
        if self.gone_at.is_some_and(|gone_at| self.calls >= gone_at) {
            return Err(ObjectError::failed(name, "nobody answers"));
        }
        Ok(())
    }
}

impl Objects for MemoryObjects {
    fn put(&self, name: &str, len: u64, from: &mut dyn Read) -> Result<(), ObjectError> {
        self.state.lock().begin(name)?;
        let mut bytes = vec![0; len as usize];
        from.read_exact(&mut bytes).map_err(|error| ObjectError::failed(name, error))?;
        let mut state = self.state.lock();
        state.put += len;
        state.objects.insert(name.to_owned(), bytes);
        Ok(())
    }

    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> Result<usize, ObjectError> {
        let mut state = self.state.lock();
        state.begin(name)?;
        let bytes = state.objects.get(name).ok_or_else(|| ObjectError::NotFound { name: name.to_owned() })?;
        let rest = bytes.get(at as usize..).unwrap_or_default();
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, ObjectError> {
        let mut state = self.state.lock();
        state.begin(folder)?;
        let within = |name: &&String| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let found = state.objects.keys().filter(within);
        Ok(found.map(|name| Object { name: name.clone(), len: state.objects[name].len() as u64 }).collect())
    }

    fn remove(&self, name: &str) -> Result<(), ObjectError> {
        let mut state = self.state.lock();
        state.begin(name)?;
        state.objects.remove(name);
        Ok(())
    }
}
