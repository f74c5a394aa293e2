//! Mutations of journal files that know where offsets, sizes and kinds stand: what a blind bit seldom hits.

/// splitmix64: the same stream for the same seed, everywhere.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// The 64-bit number at `at`; 0 behind the end.
pub fn number(file: &[u8], at: usize) -> u64 {
    file.get(at..)
        .and_then(|rest| rest.get(..8))
        .map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight")))
}

/// All objects of a sound file: offset and size. Of a damaged one those before the damage.
pub fn objects(file: &[u8]) -> Vec<(usize, usize)> {
    let (tail, mut at, mut objects) = (number(file, 136), number(file, 88), Vec::new());
    let end = file.len() as u64;
    while at <= tail && at < end {
        let size = number(file, at as usize + 8);
        if size < 16 || size > end - at {
            break;
        }
        objects.push((at as usize, size as usize));
        at += size.next_multiple_of(8);
    }
    objects
}

/// Changes one thing; says what.
pub fn mutate(file: &mut Vec<u8>, objects: &[(usize, usize)], random: &mut Seeded) -> String {
    let (at, size) = objects[random.below(objects.len())];
    let (other, _) = objects[random.below(objects.len())];
    let kind = file.get(at).copied().unwrap_or(0);
    let odd = [0, 1, 8, 63, 64, at as u64, other as u64, u64::MAX, u64::MAX - 7, 1 << 40, file.len() as u64];
    let odd = odd[random.below(odd.len())];
    match random.below(12) {
        // Numbers of the header.
        0 | 1 => {
            let place = 88 + 8 * random.below(23);
            put(file, place, odd, 8);
            format!("header {place} = {odd}")
        }
        2 => {
            let (place, bit) = (8 + random.below(9), random.below(8));
            flip(file, place, bit);
            format!("header flag {place} bit {bit}")
        }
        // Head of an object: kind, flags, size.
        3 => {
            let (place, byte) = (at + random.below(2), random.next() as u8);
            put(file, place, u64::from(byte), 1);
            format!("kind {kind} at {at}: byte {} = {byte}", place - at)
        }
        4 => {
            put(file, at + 8, odd, 8);
            format!("kind {kind} at {at}: size = {odd}")
        }
        // Offsets inside it, 64 and 32 bits wide.
        5 | 6 => {
            let place = at + 16 + 8 * random.below((size.saturating_sub(16) / 8).min(4096));
            put(file, place, odd, 8);
            format!("kind {kind} at {at}: offset {} = {odd}", place - at)
        }
        7 => {
            let place = at + 16 + 4 * random.below((size.saturating_sub(16) / 4).min(4096));
            put(file, place, odd, 4);
            format!("kind {kind} at {at}: offset {} = {odd} (32)", place - at)
        }
        8 => {
            let (place, bit) = (random.below(file.len()), random.below(8));
            flip(file, place, bit);
            format!("bit {bit} at {place}")
        }
        9 => {
            let keep = 208 + random.below(file.len().saturating_sub(208));
            file.truncate(keep);
            format!("cut at {keep}")
        }
        10 => {
            let bytes = size.min(file.len().saturating_sub(at.max(other)));
            if at.max(other) < file.len() {
                file.copy_within(at..at + bytes, other);
            }
            format!("{bytes} bytes at {at} copied to {other}")
        }
        _ => {
            let end = (at + 1 + random.below(size)).min(file.len());
            file.get_mut(at..end).unwrap_or_default().fill(0);
            format!("zeros from {at} to {end}")
        }
    }
}

fn put(file: &mut [u8], at: usize, value: u64, bytes: usize) {
    if let Some(place) = file.get_mut(at..at + bytes) {
        place.copy_from_slice(&value.to_le_bytes()[..bytes]);
    }
}

fn flip(file: &mut [u8], at: usize, bit: usize) {
    if let Some(byte) = file.get_mut(at) {
        *byte ^= 1 << bit;
    }
}
