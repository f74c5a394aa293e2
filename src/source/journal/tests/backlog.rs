//! Memory while many archived files are read one after the other.

use super::{
    disk::{Disk, drain},
    from_beginning,
    writer::{self, Style},
};

#[test]
fn memory_does_not_grow_with_the_files_of_a_backlog() {
    for style in [Style::COMMON, Style { compact: false, ..Style::COMMON }] {
        let directory = tempfile::tempdir().unwrap();
        writer::rotated(directory.path(), style, 71, 4, 1500);
        for mut disk in [Disk::warm(), Disk::cold()] {
            let mut cursor = from_beginning(directory.path());
            let kept = drain(&mut cursor, &mut disk);
            // No look came since the first one: all files are still there.
            let (files, read) = (cursor.files.len(), cursor.files.iter().filter(|file| file.next > 0).count());
            assert!(kept.len() > 5 * 1500 && files >= 5 && read == files, "{read} of {files} files were read");
            let windows = cursor.files.iter().filter(|file| file.window.is_warm()).count();
            let arrays = cursor.files.iter().filter(|file| file.array.is_warm()).count();
            assert!(windows <= 1 && arrays <= 1, "{windows} windows and {arrays} arrays of {files} files");
        }
    }
}
