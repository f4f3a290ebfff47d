use std::cell::Cell;
use std::collections::BTreeMap;

use journal::disk::pretend::{Fault, PretendDisk};
use journal::{JournalError, Position, Recorder};

use super::*;

const FROM: &str = "/data/store";
const TO: &str = "/backup/store";

/// What these tests' MANIFEST holds: the blocks' numbers.
fn naming(disk: &PretendDisk) -> impl Fn(&Path) -> Result<Option<Named>, StoreError> + use<> {
    let disk = disk.clone();
    move |folder| {
        let path = folder.join(MANIFEST);
        let read = files::read(&disk, &path, 1 << 20).map_err(StoreError::io("read", &path))?;
        Ok(read.map(|bytes| Named { blocks: bytes.iter().map(|byte| u64::from(*byte)).collect(), bytes }))
    }
}

struct Bytes;

impl Recorder for Bytes {
    type Entry = Vec<u8>;

    fn begin_segment(&mut self, preamble: &mut Vec<u8>) {
        preamble.extend_from_slice(b"preamble");
    }

    fn encode(&mut self, entry: &Vec<u8>, payload: &mut Vec<u8>) {
        payload.extend_from_slice(entry);
    }

    fn durable(&mut self, _: Position, _: Vec<u8>) {}

    fn refused(&mut self, _: Vec<u8>, why: &JournalError) {
        panic!("{why}");
    }
}

/// A store of blocks and a journal that is open and written to.
struct Source {
    disk: PretendDisk,
    journal: journal::Journal<Bytes>,
}

impl Source {
    fn new(disk: &PretendDisk) -> Self {
        let options = journal::Options { segment_bytes: 4096, ..journal::Options::default() };
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (opened, _) = journal::open(shared, Path::new(FROM), options, &mut |_| Ok(())).unwrap();
        let source = Self { disk: disk.clone(), journal: opened.start(Bytes).unwrap() };
        source.publish(&[1, 2]);
        source.write(3);
        source
    }

    fn block(number: u64) -> Vec<u8> {
        (0..9000_u64).map(|at| (at * number) as u8).collect()
    }

    /// Blocks come before the MANIFEST that names them, and go after it.
    fn publish(&self, numbers: &[u64]) {
        let from = Path::new(FROM);
        for number in numbers {
            self.disk.put(&block_path(from, *number), &Self::block(*number));
        }
        let bytes: Vec<u8> = numbers.iter().map(|number| *number as u8).collect();
        self.disk.put(&from.join(MANIFEST), &bytes);
        for name in self.disk.list(&from.join(BLOCKS_FOLDER)).unwrap() {
            if !numbers.iter().any(|number| block_name(*number) == name) {
                self.disk.remove(&from.join(BLOCKS_FOLDER).join(name)).unwrap();
            }
        }
        self.disk.sync_dir(&from.join(BLOCKS_FOLDER)).unwrap();
    }

    fn write(&self, count: u8) {
        for number in 0..count {
            self.journal.append(vec![number; 700], 700).map_err(|(_, why)| why).unwrap();
        }
        self.journal.flush().unwrap();
    }

    fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    fn backup(&self, placing: Placing) -> Result<Copied, StoreError> {
        copy(&self.shared(), Path::new(FROM), Path::new(TO), placing, &naming(&self.disk))
    }
}

/// Files below a folder, without locks and marks.
fn tree(disk: &PretendDisk, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut tree = BTreeMap::new();
    for path in disk.paths() {
        let Ok(rest) = path.strip_prefix(folder) else { continue };
        if rest != Path::new(LOCK) && rest != Path::new(MARK) {
            tree.insert(rest.to_owned(), disk.get(&path).unwrap());
        }
    }
    tree
}

/// What MANIFEST names is there, every byte of it. Answers the numbers; nothing where there is no MANIFEST.
fn check_whole(disk: &PretendDisk, folder: &str) -> Option<Vec<u64>> {
    let folder = Path::new(folder);
    let numbers = disk.get(&folder.join(MANIFEST))?;
    for number in &numbers {
        let bytes = disk.get(&block_path(folder, u64::from(*number)));
        assert!(bytes.is_some_and(|bytes| bytes == Source::block(u64::from(*number))), "block {number}");
    }
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let found = journal::inspect(&shared, folder, 1 << 20, &mut |_| Ok(())).unwrap();
    assert_eq!(found.report.damage, []);
    Some(numbers.into_iter().map(u64::from).collect())
}

#[test]
fn a_second_backup_copies_what_is_new_and_lets_go_of_what_went() {
    let disk = PretendDisk::new();
    let source = Source::new(&disk);
    let first = source.backup(Placing::Copy).unwrap();
    assert_eq!((first.blocks, first.blocks_new, first.segments, first.removed), (2, 2, 1, 0));
    assert_eq!(tree(&disk, TO), tree(&disk, FROM));
    let idle = source.backup(Placing::Copy).unwrap();
    assert_eq!((idle.blocks_new, idle.removed), (0, 0));
    source.publish(&[2, 3]);
    source.write(20);
    let begun = source.journal.rotate().unwrap();
    source.journal.remove_segments(&[1]).unwrap();
    let second = source.backup(Placing::Copy).unwrap();
    assert_eq!((second.blocks, second.blocks_new, second.removed), (2, 1, 2));
    assert!(begun > 2 && second.segments > 1);
    assert_eq!(tree(&disk, TO), tree(&disk, FROM));
}

#[test]
fn what_changes_while_it_copies_is_copied_in_another_round() {
    let disk = PretendDisk::new();
    let source = Source::new(&disk);
    let (asked, read) = (Cell::new(0), naming(&disk));
    let restless = |folder: &Path| {
        let named = read(folder);
        asked.set(asked.get() + 1);
        match asked.get() {
            1 => source.publish(&[2, 3]), // a compaction right after MANIFEST was read: block 1 goes
            2 => source.publish(&[3, 4]),
            _ => {}
        }
        named
    };
    let copied = copy(&source.shared(), Path::new(FROM), Path::new(TO), Placing::Copy, &restless).unwrap();
    assert_eq!(copied.blocks, 2);
    assert_eq!(check_whole(&disk, TO), Some(vec![3, 4]));
    let never = |folder: &Path| {
        asked.set(asked.get() + 1);
        source.publish(&[1 + asked.get() % 7]);
        read(folder)
    };
    let error = copy(&source.shared(), Path::new(FROM), Path::new(TO), Placing::Copy, &never).unwrap_err();
    assert!(error.to_string().contains("was changed 50 times"), "{error}");
    assert_eq!(check_whole(&disk, TO), Some(vec![3, 4]), "the earlier copy is still one");
}

#[test]
fn snapshots_are_second_names_where_there_are_such() {
    let disk = PretendDisk::new();
    let source = Source::new(&disk);
    let before = disk.used_bytes();
    let linked = source.backup(Placing::Link).unwrap();
    assert_eq!((linked.blocks_new, linked.blocks_linked), (2, 2));
    assert!(disk.used_bytes() < before + 9000, "only the journal takes room");
    source.publish(&[3]);
    assert_eq!(check_whole(&disk, TO), Some(vec![1, 2]), "the store lets go, the snapshot does not");
    let other = PretendDisk::new();
    other.set_links(false);
    let copied = Source::new(&other).backup(Placing::Link).unwrap();
    assert_eq!((copied.blocks_new, copied.blocks_linked), (2, 0));
    assert_eq!(check_whole(&other, TO), Some(vec![1, 2]));
}

#[test]
fn stopped_anywhere_a_backup_is_the_earlier_or_the_later_one_and_the_next_run_finishes() {
    let mut seen = [0, 0];
    for operation in 0.. {
        let disk = PretendDisk::new();
        let source = Source::new(&disk);
        source.backup(Placing::Copy).unwrap();
        source.publish(&[2, 3]);
        source.write(20);
        drop(source.journal);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let fault = [Fault::ShortIo, Fault::ShortFull, Fault::PowerCut][(operation % 3) as usize];
        disk.fail_at(disk.operations() + operation, fault);
        let again = || copy(&shared, Path::new(FROM), Path::new(TO), Placing::Copy, &naming(&disk));
        let result = again();
        if disk.faults_fired() == 0 {
            assert!(result.is_ok() && operation > 30);
            break;
        }
        if fault == Fault::PowerCut {
            disk.crash_partly(operation);
        }
        let numbers = check_whole(&disk, TO).expect("there is one MANIFEST or the other");
        seen[usize::from(numbers == [2, 3])] += 1;
        assert!(numbers == [1, 2] || numbers == [2, 3], "{numbers:?}");
        again().unwrap();
        assert_eq!(check_whole(&disk, TO), Some(vec![2, 3]));
        assert_eq!(tree(&disk, TO).keys().collect::<Vec<_>>(), tree(&disk, FROM).keys().collect::<Vec<_>>());
    }
    assert!(seen[0] > 10 && seen[1] > 3, "{seen:?}");
}

#[test]
fn stopped_anywhere_a_restored_store_is_whole_or_not_there() {
    for operation in 0.. {
        let disk = PretendDisk::new();
        let source = Source::new(&disk);
        source.backup(Placing::Copy).unwrap();
        let shared = source.shared();
        let to = Path::new("/new/store");
        let fault = [Fault::ShortIo, Fault::ShortFull, Fault::PowerCut][(operation % 3) as usize];
        drop(source);
        disk.fail_at(disk.operations() + operation, fault);
        let again = || restore_with(&shared, Path::new(TO), to, &naming(&disk));
        let result = again();
        if disk.faults_fired() == 0 {
            assert!(result.is_ok() && operation > 20);
            assert!(!disk.paths().contains(&to.join(MARK)));
            break;
        }
        if fault == Fault::PowerCut {
            disk.crash_partly(operation);
        }
        let there = tree(&disk, "/new/store");
        if there.is_empty() {
            again().unwrap();
        }
        assert_eq!(check_whole(&disk, "/new/store"), Some(vec![1, 2]));
    }
}

#[test]
fn nothing_is_copied_over_what_is_no_copy() {
    let disk = PretendDisk::new();
    let source = Source::new(&disk);
    let (shared, read) = (source.shared(), naming(&disk));
    let copy_to = |to: &str| copy(&shared, Path::new(FROM), Path::new(to), Placing::Copy, &read);
    disk.put(Path::new("/home/letters"), b"mine");
    disk.put(Path::new("/other/MANIFEST"), &[1]);
    for to in ["/home", "/other"] {
        let error = copy_to(to).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{to} is not empty")), "{error}");
    }
    assert_eq!(disk.get(Path::new("/other/MANIFEST")).unwrap(), [1]);
    copy_to(TO).unwrap();
    let locked = disk.lock(&Path::new(TO).join(LOCK)).unwrap();
    assert!(copy_to(TO).unwrap_err().to_string().contains("is in use by another process"));
    drop(locked);
    let restore_to = |from: &str, to: &str| {
        restore_with(&shared, Path::new(from), Path::new(to), &read).map_err(|error| error.to_string())
    };
    assert!(restore_to(TO, "/home").unwrap_err().contains("/home is not empty"));
    assert!(restore_to(TO, FROM).unwrap_err().contains("is not empty"));
    assert!(restore_to("/home", "/new").unwrap_err().contains("holds no whole store"));
    disk.create_dir_all(Path::new("/empty")).unwrap();
    disk.put(Path::new("/empty/LOCK"), b"");
    restore_to(TO, "/empty").unwrap();
    assert_eq!(check_whole(&disk, "/empty"), Some(vec![1, 2]));
}

#[test]
fn a_block_that_is_lost_does_not_keep_the_others_from_being_copied() {
    let disk = PretendDisk::new();
    let source = Source::new(&disk);
    disk.remove(&block_path(Path::new(FROM), 1)).unwrap();
    let copied = source.backup(Placing::Copy).unwrap();
    assert_eq!((copied.blocks, copied.blocks_new), (2, 1));
    assert_eq!(copied.lost.len(), 1);
    assert_eq!(copied.lost[0].0, block_path(Path::new(FROM), 1));
    assert_eq!(disk.get(&block_path(Path::new(TO), 2)), Some(Source::block(2)));
    // An earlier copy of it stays: it may be the only one there is.
    source.publish(&[1, 2]);
    source.backup(Placing::Copy).unwrap();
    disk.remove(&block_path(Path::new(FROM), 1)).unwrap();
    assert_eq!(source.backup(Placing::Copy).unwrap().lost.len(), 1);
    assert_eq!(check_whole(&disk, TO), Some(vec![1, 2]));
}
