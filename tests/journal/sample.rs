//! Small journals from a seed: every shape of entry, value and compression a reader meets.

use super::{
    forge::{Forge, Style, Value},
    mutate::Seeded,
};

const IDENTIFIERS: [&str; 6] = ["duroslight", "duroslight-0", "duroslight@1", "duroslight-manager", "etcd", "kernel"];

/// `MESSAGE=` and 700 times one letter: `a` as xz has it without a checksum, `b` as lz4 behind its size, `c` as zstd.
const XZ: [u8; 76] = [
    253, 55, 122, 88, 90, 0, 0, 0, 255, 18, 217, 65, 2, 0, 33, 1, 22, 0, 0, 0, 116, 47, 229, 163, 224, 2, 195, 0, 18,
    93, 0, 38, 145, 70, 192, 209, 148, 87, 228, 147, 0, 211, 110, 63, 32, 143, 209, 158, 0, 0, 0, 0, 0, 1, 38, 196, 5,
    0, 0, 0, 223, 140, 235, 57, 168, 0, 10, 252, 2, 0, 0, 0, 0, 0, 89, 90,
];
const LZ4: &[u8] = b"\xc4\x02\0\0\0\0\0\0\x9fMESSAGE=b\x01\0\xff\xff\xa5\x50bbbbb";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x60\xc4\x01\x40\0\0MESSAGE=\xe3\x15\0c";

/// A file of `entries` entries.
pub fn journal(style: Style, entries: u64, random: &mut Seeded) -> Vec<u8> {
    let mut forge = Forge::new(style);
    for number in 1..=entries {
        entry(&mut forge, number, random);
    }
    forge.finish()
}

fn entry(forge: &mut Forge, number: u64, random: &mut Seeded) {
    let identifier = IDENTIFIERS[random.below(IDENTIFIERS.len())];
    let mut fields = vec![
        format!("SYSLOG_IDENTIFIER={identifier}").into_bytes(),
        format!("PRIORITY={}", random.below(9)).into_bytes(),
        b"_HOSTNAME=node-1".to_vec(),
    ];
    if random.below(3) > 0 {
        fields.push(format!("_SYSTEMD_UNIT={identifier}.service").into_bytes());
        fields.push(format!("_PID={}", 1000 + random.below(9)).into_bytes());
    }
    if random.below(4) == 0 {
        fields.push(format!("_SOURCE_REALTIME_TIMESTAMP={}", 1_700_000_000_000_000 + number * 990).into_bytes());
    }
    let (letter, stored, flag) = [(b'a', XZ.as_slice(), 1), (b'b', LZ4, 2), (b'c', ZSTD, 4)][random.below(3)];
    let long = [b"MESSAGE=".as_slice(), &[letter; 700]].concat();
    match random.below(16) {
        0 => {}
        1 => fields.push(b"MESSAGE=the same again".to_vec()),
        2 => fields.push(b"MESSAGE=one\n\ttwo\n\xff\0three".to_vec()),
        3 => fields.extend([format!("MESSAGE=first of {number}").into_bytes(), b"MESSAGE=second".to_vec()]),
        4 => fields.push(long.clone()),
        _ => fields.push(format!("MESSAGE=request {number} done in {} ms", random.below(999)).into_bytes()),
    }
    let values: Vec<Value<'_>> = fields
        .iter()
        .map(|plain| match *plain == long {
            true => Value { plain, stored, flag },
            false => Value::plain(plain),
        })
        .collect();
    forge.entry(&values);
}
