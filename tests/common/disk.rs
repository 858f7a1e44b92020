//! Real file systems on loop devices. Their medium is a file in memory, so that a cut of the power, a full disk and a medium that
//! fails are real to the file system, cheap, and nobody else's. Needs root.

use super::{
    eventually,
    fault::{missing, run},
};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

/// What lies on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    Ext4,
    Xfs,
}

impl FileSystem {
    pub const ALL: [Self; 2] = [Self::Ext4, Self::Xfs];

    fn make(self, image: &str) -> bool {
        match self {
            Self::Ext4 => {
                let now = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
                run("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", now, image])
            }
            Self::Xfs => run("mkfs.xfs", &["-q", "-K", image]),
        }
    }
}

/// A mounted file system on a disk of its own; it is gone when dropped. Whoever stores there must be dropped before.
#[derive(Debug)]
pub struct Disk {
    folder: tempfile::TempDir,
}

/// Size of a disk: the least that `mkfs.xfs` makes is 300 MiB.
const MIB: u64 = 320;

impl Disk {
    /// An empty disk. `None`, which is said, where the tools are not installed or this is not root; in CI both must be.
    pub fn new(file_system: FileSystem) -> Option<Self> {
        let disk = Self::without_file_system()?;
        fs::File::create(disk.image()).unwrap().set_len(MIB << 20).unwrap();
        assert!(file_system.make(disk.image().to_str().unwrap()));
        disk.mount();
        Some(disk)
    }

    /// The same, every block of which has its place on the medium already, and which takes 4 KiB with each request: a loop
    /// device reports a request that it could write half of as written.
    pub fn with_every_block(file_system: FileSystem) -> Option<Self> {
        let disk = Self::without_file_system()?;
        let image = disk.image();
        let sparse = image.with_extension("sparse");
        fs::File::create(&sparse).unwrap().set_len(MIB << 20).unwrap();
        assert!(file_system.make(sparse.to_str().unwrap()));
        assert!(run("cp", &["--sparse=never", sparse.to_str().unwrap(), image.to_str().unwrap()]));
        fs::remove_file(sparse).unwrap();
        disk.mount();
        let device = disk.device();
        let limit = format!("/sys/block/{}/queue/max_sectors_kb", device.trim_start_matches("/dev/"));
        fs::write(limit, "4").unwrap();
        Some(disk)
    }

    fn without_file_system() -> Option<Self> {
        let is_there = |tool: &str| Command::new(tool).arg("-V").output().is_ok();
        if !["mkfs.ext4", "mkfs.xfs", "xfs_io", "fsfreeze", "filefrag"].into_iter().all(is_there) {
            return missing("real file systems, install e2fsprogs, util-linux and xfsprogs");
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["medium", "root"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let disk = Self { folder };
        let medium = disk.medium();
        let size = format!("size={}m", 2 * MIB + 32);
        if !run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", medium.to_str().unwrap()]) {
            return missing("real file systems, run as root");
        }
        Some(disk)
    }

    /// Where it is mounted.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn medium(&self) -> PathBuf {
        self.folder.path().join("medium")
    }

    fn image(&self) -> PathBuf {
        self.medium().join("image")
    }

    fn mount(&self) {
        let (image, root) = (self.image(), self.root());
        assert!(run("mount", &["-o", "loop", image.to_str().unwrap(), root.to_str().unwrap()]));
    }

    fn unmount(&self) {
        // The files of a process that was killed are closed a little later.
        eventually("an unmounted disk", || run("umount", &[self.root().to_str().unwrap()]));
    }

    /// The block device.
    pub fn device(&self) -> String {
        let root = self.root();
        let output = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(root).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Cuts the power: what was not synced is lost, and from now on everything fails until the disk is mounted again. Of the
    /// shutdown ioctl's ways (`EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`) this is the one that does not flush the journal first;
    /// `xfs_io -c "shutdown -f"` would.
    pub fn cut_power(&self) {
        assert!(run("xfs_io", &["-x", "-c", "shutdown", self.root().to_str().unwrap()]));
    }

    /// Mounts it again, which recovers it. Nobody may have files open.
    pub fn remount(&self) {
        self.unmount();
        self.mount();
    }

    /// Writes wait until the guard is dropped.
    pub fn freeze(&self) -> Frozen {
        assert!(run("fsfreeze", &["-f", self.root().to_str().unwrap()]));
        Frozen(self.root())
    }

    /// Fills it to the last block, but for so many bytes.
    pub fn fill_but(&self, room: usize) {
        let mut reserved = fs::File::create(self.root().join("room")).unwrap();
        reserved.write_all(&vec![1; room]).unwrap();
        reserved.sync_all().unwrap();
        let mut ballast = fs::File::create(self.root().join("ballast")).unwrap();
        for size in [1 << 20, 1 << 12] {
            let block = vec![1; size];
            let error = loop {
                if let Err(error) = ballast.write_all(&block) {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        ballast.sync_all().unwrap();
        fs::remove_file(self.root().join("room")).unwrap();
        fs::File::open(self.root()).unwrap().sync_all().unwrap();
    }

    /// Takes away what filled it.
    pub fn make_room(&self) {
        fs::remove_file(self.root().join("ballast")).unwrap();
    }

    /// From now on the medium refuses what is written to the file behind `keep` bytes, as a thin volume without a block left
    /// does. The file's space must be reserved. Made [`Disk::with_every_block`].
    pub fn lose_behind(&self, file: &Path, keep: u64) {
        const BLOCK: u64 = 4096;
        let output = Command::new("filefrag").args(["-b4096", "-v"]).arg(file).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let image = self.image();
        let mut punched = 0;
        for line in output.lines() {
            // "  0:  0..  4095:  34816..  38911:  4096:  last,unwritten,eof"
            let mut numbers = line.split([':', '.']).filter_map(|field| field.trim().parse::<u64>().ok());
            let (Some(_), Some(logical), Some(last), Some(physical)) =
                (numbers.next(), numbers.next(), numbers.next(), numbers.next())
            else {
                continue;
            };
            let kept = (keep / BLOCK).saturating_sub(logical);
            if logical + kept > last {
                continue;
            }
            let (offset, length) = ((physical + kept) * BLOCK, (last + 1 - logical - kept) * BLOCK);
            let (offset, length) = (offset.to_string(), length.to_string());
            assert!(run("fallocate", &["-p", "-o", &offset, "-l", &length, image.to_str().unwrap()]));
            punched += 1;
        }
        assert!(punched > 0, "nothing of {} lies on the medium: {output}", file.display());
        let used = Command::new("df").args(["-k", "--output=used"]).arg(self.medium()).output().unwrap();
        let used = String::from_utf8(used.stdout).unwrap();
        self.resize_medium(&format!("{}k", used.lines().nth(1).unwrap().trim()));
    }

    /// The medium takes everything again, and the disk is mounted anew. Nobody may have files open.
    pub fn mend(&self) {
        self.unmount();
        self.resize_medium(&format!("{}m", 2 * MIB));
        self.mount();
    }

    fn resize_medium(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(run("mount", &["-o", &options, self.medium().to_str().unwrap()]));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for mount in [self.root(), self.medium()] {
            let _ = Command::new("umount").arg("-l").arg(mount).output();
        }
    }
}

/// Thaws when dropped.
#[derive(Debug)]
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        assert!(run("fsfreeze", &["-u", self.0.to_str().unwrap()]));
    }
}
