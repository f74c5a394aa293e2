//! Chance from a seed: the only source of randomness of the simulation.
//!
//! Our own few lines rather than a library's, so that a seed printed by a failing test means the same thing in a year.

/// xoshiro256** 1.0 (Blackman and Vigna, public domain), seeded by splitmix64 as its authors advise.
#[derive(Clone, Debug)]
pub(super) struct Random([u64; 4]);

impl Random {
    pub fn new(mut seed: u64) -> Self {
        let mut splitmix = || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Self([splitmix(), splitmix(), splitmix(), splitmix()])
    }

    pub fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// 0 to `bound` - 1, and 0 for a bound of 0. (By remainder: the bias is far below what a simulation could show.)
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    pub fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        // splitmix64 of 0 as its authors publish it.
        assert_eq!(Random::new(0).0[0], 0xe220_a839_7b1d_cdaf);
        let mut random = Random([1, 2, 3, 4]);
        // xoshiro256** from this state, as in the test vectors of rand_xoshiro.
        let published = [11520, 0, 1509978240, 1215971899390074240];
        assert_eq!(published.map(|_| random.next()), published);
    }
}
