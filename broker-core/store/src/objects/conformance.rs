//! What every place for objects must do. Checked on each of them.

use super::{ObjectError, Objects};

/// Checks a place that has no objects in the folders `a` and `b`; panics where it does something else than it promises.
pub fn check(objects: &dyn Objects) {
    assert_eq!(objects.list("a").expect("an empty folder is listed"), []);
    let put = |name: &str, bytes: &[u8]| objects.put(name, bytes.len() as u64, &mut &*bytes);
    put("a/2.seg", b"hello").expect("an object is put");
    put("a/1.seg", &vec![7; 17 << 20]).expect("one that is put in parts");
    put("b/1", b"").expect("an empty one is put");
    let listed = |folder| {
        let found = objects.list(folder).expect("a folder is listed");
        found.into_iter().map(|object| (object.name, object.len)).collect::<Vec<_>>()
    };
    assert_eq!(listed("a"), [("a/1.seg".to_owned(), 17 << 20), ("a/2.seg".to_owned(), 5)]);
    assert_eq!(listed("b"), [("b/1".to_owned(), 0)]);

    let mut bytes = [0; 8];
    assert_eq!(objects.read("a/2.seg", 1, &mut bytes).expect("it is read"), 4, "short only at the end");
    assert_eq!(&bytes[..4], b"ello");
    assert_eq!(objects.read("a/1.seg", 1 << 20, &mut bytes).expect("it is read"), 8);
    assert_eq!(bytes, [7; 8]);
    let missing = objects.read("a/3.seg", 0, &mut bytes);
    assert_eq!(missing, Err(ObjectError::NotFound { name: "a/3.seg".to_owned() }));

    put("a/2.seg", b"replaced").expect("an object is replaced");
    assert_eq!(objects.read("a/2.seg", 0, &mut bytes).expect("it is read"), 8);
    assert_eq!(&bytes, b"replaced");
    let torn = objects.put("a/2.seg", 100, &mut &b"too few"[..]);
    assert!(torn.is_err(), "an object of too few bytes is none");
    assert_eq!(objects.read("a/2.seg", 0, &mut bytes).expect("the one before is still there"), 8);
    assert!(objects.put("a/4.seg", 10 << 20, &mut &vec![1; 9 << 20][..]).is_err());
    assert_eq!(listed("a").len(), 2, "nothing half is listed");

    objects.remove("a/2.seg").expect("it is removed");
    objects.remove("a/2.seg").expect("nothing is removed");
    assert_eq!(listed("a").len(), 1);
    for name in ["a/1.seg", "b/1"] {
        objects.remove(name).expect("it is removed");
    }
    assert_eq!(listed("a").len() + listed("b").len(), 0);
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{
        disk::{DiskError, RealDisk, SimDisk},
        objects::{DirObjects, MemoryObjects},
    };

    #[test]
    fn objects_in_memory_conform() {
        check(&MemoryObjects::default());
    }

    #[test]
    fn objects_in_a_simulated_directory_conform() {
        check(&DirObjects::to_write(SimDisk::new(1), &["a"]).unwrap());
    }

    #[test]
    fn objects_in_a_real_directory_conform() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        let objects = DirObjects::to_write(disk.clone(), &["a"]).unwrap();
        let second = DirObjects::to_write(disk.clone(), &["a"]).err();
        assert_eq!(second, Some(DiskError::Locked { path: "lock".to_owned() }));
        check(&objects);
        check(&DirObjects::to_read(disk));
    }
}
